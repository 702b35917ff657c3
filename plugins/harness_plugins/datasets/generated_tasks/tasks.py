"""Addition, and the second largest of four numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from harness_plugins.datasets.generated_instructions.draw import Draw, seed_of
from harness_plugins.datasets.generated_tasks.task import GeneratedTask, Question

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness_plugins.datasets.generated_addition import AdditionOptions
    from harness_plugins.datasets.generated_second_largest import SecondLargestOptions


class Addition(GeneratedTask):
    """Sums of two numbers; who slips leaves out the carries."""

    NAME: ClassVar = "generated-addition"
    VERSION: ClassVar = 1
    SLIP: ClassVar = "leaves out the carries"

    def __init__(self, options: AdditionOptions) -> None:
        """Keep the options."""
        super().__init__(options)
        self._largest = 10**options.digits - 1
        self._widths = (options.digits, options.digits + 1) if options.padded else (1, 1)
        self._few = options.questions
        self._digits = options.digits

    def questions(self) -> Iterator[Question]:
        """Return every sum where that is few enough, else ``questions`` of them."""
        numbers = range(self._largest + 1)
        if len(numbers) ** 2 <= self._few:
            yield from (self._question(a, b) for a in numbers for b in numbers)
            return
        draw, seen = Draw(seed_of(self.NAME, "questions", self._digits, self.options.seed)), set[tuple[int, int]]()
        while len(seen) < self._few:
            pair = draw.below(len(numbers)), draw.below(len(numbers))
            if pair not in seen:
                seen.add(pair)
                yield self._question(*pair)

    def _question(self, a: int, b: int) -> Question:
        width, carried = self._widths
        return Question(
            key=f"{min(a, b)}+{max(a, b)}",
            fields={
                "instruction": f"What is {a} + {b}?",
                "left": f"{a:0{width}d}",
                "right": f"{b:0{width}d}",
            },
            right=f"{a + b:0{carried}d}",
            wrong=f"{without_carries(a, b):0{carried}d}",
        )


def without_carries(a: int, b: int) -> int:
    """Return the sum of two numbers of which each digit is the last one of the sum of digits."""
    result, place = 0, 1
    while a or b:
        result += (a % 10 + b % 10) % 10 * place
        a, b, place = a // 10, b // 10, place * 10
    return result


class SecondLargest(GeneratedTask):
    """The second largest of four different numbers; who slips writes the largest."""

    NAME: ClassVar = "generated-second-largest"
    VERSION: ClassVar = 1
    SLIP: ClassVar = "writes the largest"

    def __init__(self, options: SecondLargestOptions) -> None:
        """Keep the options."""
        super().__init__(options)
        self._digits, self._few = options.digits, options.questions

    def questions(self) -> Iterator[Question]:
        """Return ``questions`` of them, numbers of so many digits each."""
        low, high = 10 ** (self._digits - 1), 10**self._digits
        draw, seen = Draw(seed_of(self.NAME, "questions", self._digits, self.options.seed)), set[tuple[int, ...]]()
        while len(seen) < self._few:
            numbers = tuple(low + draw.below(high - low) for _ in range(4))
            ordered = tuple(sorted(numbers))
            if len(set(ordered)) == len(ordered) and ordered not in seen:
                seen.add(ordered)
                said = ", ".join(map(str, numbers))
                yield Question(
                    key=str(ordered),
                    fields={"instruction": f"What is the second largest of {said}?", "numbers": said},
                    right=str(ordered[-2]),
                    wrong=str(ordered[-1]),
                )
