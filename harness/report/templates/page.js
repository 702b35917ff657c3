"use strict";
/* Makes a page better that is read without it: the theme, and sorting, filtering and choosing in tables. */
const make = (tag, attributes = {}, ...children) => {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
};
const kept = {
  get: (name) => { try { return localStorage.getItem(name); } catch { return null; } },
  set: (name, value) => { try { localStorage.setItem(name, value); } catch { /* the page forgets it, no more */ } },
};
const wordsOf = (text) => text.toLowerCase().split(/\s+/).filter(Boolean);

const theme = kept.get("theme");
if (theme === "dark" || theme === "light") document.documentElement.dataset.theme = theme;

function addThemeButton() {
  const root = document.documentElement;
  const dark = () => (root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  const button = make("button", { type: "button", class: "button theme" });
  const say = () => { button.textContent = dark() ? "Light" : "Dark"; button.setAttribute("aria-label", `Show the page ${dark() ? "light" : "dark"}`); };
  button.addEventListener("click", () => { root.dataset.theme = dark() ? "light" : "dark"; kept.set("theme", root.dataset.theme); say(); });
  say();
  document.querySelector(".bar").append(button);
}

function improve(wrapper) {
  const table = wrapper.querySelector("table");
  const scroll = wrapper.querySelector(".scroll");
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const heads = [...table.tHead.rows[table.tHead.rows.length - 1].cells];
  const titles = heads.map((head) => head.textContent);
  const groups = table.tHead.rows.length > 1 ? [...table.tHead.rows[0].cells] : [];
  const spans = groups.map((group) => group.colSpan);

  const keyOf = (row, column) => {
    const cell = row.cells[column];
    if (cell.dataset.key !== undefined) return Number(cell.dataset.key);
    const text = cell.textContent.trim();
    return text === "–" || text === "" || cell.classList.contains("status") ? null : text;
  };
  const compare = (a, b) => {
    if (typeof a === "number" && typeof b === "number") return a - b;
    if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
    return a.localeCompare(b, "en", { numeric: true });
  };
  const sort = (column) => {
    const head = heads[column];
    const first = head.dataset.first;
    const other = first === "ascending" ? "descending" : "ascending";
    const now = head.getAttribute("aria-sort");
    const next = now === first ? other : now === other ? null : first;
    for (const each of heads) each.removeAttribute("aria-sort");
    if (next) head.setAttribute("aria-sort", next);
    const order = next === null ? rows : rows
      .map((row, place) => ({ row, place, key: keyOf(row, column) }))
      .sort((a, b) => {
        if (a.key === null || b.key === null) return (a.key === null) - (b.key === null) || a.place - b.place;
        return (next === "ascending" ? 1 : -1) * compare(a.key, b.key) || a.place - b.place;
      })
      .map(({ row }) => row);
    body.append(...order);
  };
  if (rows.length > 1) {
    heads.forEach((head, column) => {
      const button = make("button", { type: "button" }, ...head.childNodes);
      button.addEventListener("click", () => sort(column));
      head.append(button);
    });
  }

  const hint = wrapper.querySelector(".hint");
  const measure = () => { hint.hidden = scroll.scrollWidth <= scroll.clientWidth + 1; };
  new ResizeObserver(measure).observe(scroll);
  new ResizeObserver(measure).observe(table);

  if (rows.length < 2) return;
  const count = make("output", { "aria-live": "polite" });
  const filter = make("input", { type: "search", placeholder: "words in a row", autocomplete: "off" });
  const choose = () => {
    const words = wordsOf(filter.value);
    let shown = 0;
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
      shown += !row.hidden;
    }
    count.textContent = words.length ? `${shown} of ${rows.length} rows` : "";
  };
  filter.addEventListener("input", choose);
  const show = (column, visible) => {
    heads[column].hidden = !visible;
    for (const row of rows) row.cells[column].hidden = !visible;
    let begin = 0;
    groups.forEach((group, number) => {
      const left = heads.slice(begin, begin + spans[number]).filter((head) => !head.hidden).length;
      begin += spans[number];
      group.hidden = left === 0;
      group.colSpan = Math.max(left, 1);
    });
  };
  const boxes = make("fieldset", {}, make("legend", {}, "Columns"));
  const chosen = [];
  const groupOf = groups.flatMap((group, number) => Array(spans[number]).fill(group.textContent));
  const several = new Set(groupOf.filter(Boolean)).size > 1;
  const nameOf = (column) => {
    // of a difference, the heading does not say what differs: the column before it does
    const [before, title] = [titles[column - 1] || "", titles[column]].map((text) => text.replace(/ [↑↓]$/, ""));
    const whole = title.startsWith("Δ") ? `${before} ${title}` : title;
    return several && groupOf[column] ? `${groupOf[column]}: ${whole}` : whole;
  };
  heads.forEach((head, column) => {
    if (head.classList.contains("name")) return;
    const box = make("input", { type: "checkbox" });
    box.checked = true;
    box.addEventListener("change", () => show(column, box.checked));
    chosen.push([box, column]);
    boxes.append(make("label", {}, box, nameOf(column)));
  });
  const reset = make("button", { type: "button", class: "button" }, "Show all");
  reset.addEventListener("click", () => {
    filter.value = "";
    choose();
    for (const [box, column] of chosen) { box.checked = true; show(column, true); }
  });
  const inside = make("div", { class: "inside" }, make("label", {}, "Filter rows", filter), count, boxes, reset);
  wrapper.prepend(make("details", { class: "tools" }, make("summary", {}, "Filter rows, choose columns"), inside));
}

document.addEventListener("DOMContentLoaded", () => {
  addThemeButton();
  document.querySelectorAll(".table").forEach(improve);
});
