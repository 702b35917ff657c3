"use strict";
/* Searches in answers: in the prompts of one page, and from the page of contents in all of them. */
const MOST_HITS = 200;
const hitOf = (text, words) => { const low = text.toLowerCase(); return words.every((word) => low.includes(word)); };

function highlight(words, within) {
  if (!window.CSS || !CSS.highlights) return;
  CSS.highlights.delete("found");
  if (!words.length) return;
  const ranges = [];
  for (const element of within) {
    const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
      const low = walker.currentNode.data.toLowerCase();
      if (low.length !== walker.currentNode.data.length) continue;
      for (const word of words) {
        for (let at = low.indexOf(word); at >= 0; at = low.indexOf(word, at + word.length)) {
          const range = new Range();
          range.setStart(walker.currentNode, at);
          range.setEnd(walker.currentNode, at + word.length);
          ranges.push(range);
        }
      }
    }
  }
  CSS.highlights.set("found", new Highlight(...ranges));
}

function onePage(place) {
  const cases = [...document.querySelectorAll(".case")];
  const texts = cases.map((each) => [...each.querySelectorAll("pre")].map((part) => part.textContent));
  const search = make("input", { type: "search", placeholder: "words of a prompt or an answer", autocomplete: "off" });
  const count = make("output", { "aria-live": "polite" });
  search.value = new URLSearchParams(location.search).get("q") || "";
  const choose = () => {
    const words = wordsOf(search.value);
    let shown = 0;
    cases.forEach((each, number) => {
      each.hidden = words.length > 0 && !texts[number].some((text) => hitOf(text, words));
      shown += !each.hidden;
    });
    document.querySelectorAll("main > section").forEach((section) => {
      section.hidden = [...section.querySelectorAll(".case")].every((each) => each.hidden);
    });
    count.textContent = words.length ? `${shown} of ${cases.length} prompts on this page` : "";
    highlight(words, document.querySelectorAll(".case:not([hidden]) pre"));
  };
  search.addEventListener("input", choose);
  const boxes = make("fieldset", {}, make("legend", {}, "Rows"));
  JSON.parse(place.dataset.rows).forEach((name, row) => {
    const box = make("input", { type: "checkbox" });
    box.checked = true;
    box.addEventListener("change", () => {
      document.querySelectorAll(`.card[data-row="${row}"]`).forEach((card) => { card.hidden = !box.checked; });
    });
    boxes.append(make("label", {}, box, name));
  });
  place.append(
    make("form", { class: "search", role: "search" }, make("label", {}, "Search on this page", search), count),
    make("details", { class: "tools" }, make("summary", {}, "Choose rows"), make("div", { class: "inside" }, boxes)),
  );
  place.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
  if (search.value) {
    const target = location.hash && document.getElementById(location.hash.slice(1));
    highlight(wordsOf(search.value), document.querySelectorAll(".case pre"));
    if (target) target.scrollIntoView();
  }
}

const loaded = new Map();
let arrived = null;
function answersOf(found) { arrived = found; }

async function textsOf(source) {
  if (!loaded.has(source)) {
    const script = make("script", { src: source });
    await new Promise((done, failed) => {
      script.addEventListener("load", done);
      script.addEventListener("error", () => failed(new Error(source)));
      document.head.append(script);
    });
    loaded.set(source, arrived);
  }
  return loaded.get(source);
}

function excerpt(text, words) {
  const low = text.toLowerCase();
  const at = words.length ? Math.max(0, low.indexOf(words[0])) : 0;
  const from = Math.max(0, at - 60);
  const part = text.slice(from, from + 200);
  const line = make("span", {}, from ? "… " : "");
  let rest = part;
  while (rest) {
    const small = rest.toLowerCase();
    const next = words.map((word) => [small.indexOf(word), word.length]).filter(([place]) => place >= 0).sort((a, b) => a[0] - b[0])[0];
    if (!next) break;
    line.append(rest.slice(0, next[0]), make("mark", {}, rest.slice(next[0], next[0] + next[1])));
    rest = rest.slice(next[0] + next[1]);
  }
  line.append(rest, from + 200 < text.length ? " …" : "");
  return line;
}

function allPages(place) {
  const pages = [...document.querySelectorAll("a[data-words]")];
  const choice = (label, first, values) => {
    const select = make("select", {}, make("option", { value: "" }, first), ...values.map((value) => make("option", { value }, value)));
    return [select, make("label", {}, label, select)];
  };
  const search = make("input", { type: "search", placeholder: "words of a prompt or an answer", autocomplete: "off" });
  const [set, setLabel] = choice("Data and decoding", "all", [...new Set(pages.map((page) => page.dataset.set))]);
  const categories = JSON.parse(place.dataset.categories);
  const [category, categoryLabel] = choice("Category", "all", categories);
  const said = make("p", { role: "status" });
  const hits = make("ul", { class: "hits" });
  const form = make("form", { class: "search", role: "search" }, make("label", {}, "Search in all answers", search), setLabel);
  if (categories.length) form.append(categoryLabel);
  form.append(make("button", { class: "button" }, "Search"));
  let asked = 0;
  const run = async () => {
    const mine = ++asked;
    const words = wordsOf(search.value);
    hits.replaceChildren();
    if (!words.length && !category.value) { said.textContent = ""; return; }
    const wanted = pages.filter((page) => !set.value || page.dataset.set === set.value);
    let prompts = 0;
    try {
      for (const [number, page] of wanted.entries()) {
        said.textContent = `Searching, ${number + 1} of ${wanted.length} pages …`;
        const found = await textsOf(page.dataset.words);
        if (mine !== asked) return;
        for (const [place, id, kind, prompt, answers] of found.prompts) {
          if (category.value && kind !== category.value) continue;
          const where = answers.map((text, row) => [found.rows[row], text]).filter(([, text]) => words.length && hitOf(text, words));
          const inPrompt = !words.length || hitOf(prompt, words);
          if (!where.length && !inPrompt) continue;
          prompts += 1;
          if (prompts > MOST_HITS) continue;
          const query = words.length ? `?q=${encodeURIComponent(words.join(" "))}` : "";
          const link = make("a", { href: `${found.page}${query}#p${place}` }, id);
          const [name, text] = where[0] || ["prompt", prompt];
          const more = where.length > 1 ? ` (and ${where.length - 1} more)` : "";
          hits.append(make("li", {}, link, ` ${found.set}${kind ? `, ${kind}` : ""}; ${name}${more}: `, excerpt(text, words)));
        }
      }
      said.textContent = `${prompts} ${prompts === 1 ? "prompt" : "prompts"} found${prompts > MOST_HITS ? `, the first ${MOST_HITS} shown` : ""}.`;
    } catch (error) {
      said.textContent = `Could not load ${error.message}: it belongs beside this page.`;
    }
  };
  form.addEventListener("submit", (event) => { event.preventDefault(); run(); });
  category.addEventListener("change", run);
  set.addEventListener("change", run);
  place.replaceChildren(form, said, hits);
}

document.addEventListener("DOMContentLoaded", () => {
  const place = document.getElementById("search");
  if (document.body.dataset.answers === "index") allPages(place);
  else onePage(place);
});
