r"""What a query is, and its text form.

The text form is what a person types::

    Person>=90 Book>=90 -Text        labels, each at a confidence of its own in percent; with a minus: without it
    Person:4..  Person:2..3          located four times or more; two or three times; a range includes its ends
    Person>=90:4..@80                of which only instances at 80 or more of their own count
    Cat|Dog>=80  any:(Cat Dog>=80)   at least one of them
    "Hot Dog"  "Text (Logo)":2       quotes for names with blanks or signs in them; \" is a quote, \\ a backslash
    parent:Animal                    a label with this parent, such as Dog
    category:"Animals and Pets"      a label of this category
    photographer:"coleen rivas"      in any case
    file:IMG_0001.jpg  file:IMG_*    a star at the end stands for any end
    taken:2021-03  taken:2019..      year, month, day or time (2021-03-05T14:30), in UTC
    day:2026-03-01..2026-03-05       days of ingest
    near:103.85,1.29,5               within 5 km of a longitude and latitude
    box:103.6,1.2,104.1,1.5          west, south, east, north in degrees

A label is found under its name and its aliases: ``Human`` finds what newer label models call ``Person``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

LONGEST = 1000
"""Characters of a text."""
MOST_TERMS = 20
"""Labels, parents and categories of a text, all together."""


class BadQuery(ValueError):
    """What is no query.

    :param problem: what is wrong and what to do
    :param position: index into the text at which it is wrong
    """

    def __init__(self, problem: str, position: int = 0) -> None:
        super().__init__(problem, position)
        self.problem = problem
        self.position = position

    def __str__(self) -> str:
        return f"{self.problem} (character {self.position + 1})"


@dataclass(frozen=True)
class LabelTerm:
    """A label as it has to be in an image, under its name or an alias.

    :param name: as Rekognition writes it
    :param min_confidence: of the label, in percent
    :param min_instances: so many instances or more
    :param fewer_than: fewer instances than so many
    :param instance_confidence: only instances at this confidence of their own count, in percent
    :raises BadQuery: if no label can be so
    """

    name: str
    min_confidence: float | None = None
    min_instances: int | None = None
    fewer_than: int | None = None
    instance_confidence: float | None = None

    def __post_init__(self) -> None:
        _check_text(self.name)
        for confidence in (self.min_confidence, self.instance_confidence):
            if confidence is not None and not 0 <= confidence <= 100:
                raise BadQuery(f"A confidence is 0 to 100 percent, not {confidence:g}")
        least, below = self.min_instances, self.fewer_than
        if least is not None and least < 1:
            raise BadQuery("At least no instances says nothing; leave it out")
        if below is not None and below <= (least or 0):
            raise BadQuery("The highest number of instances comes second, as in 2..3")
        if self.instance_confidence is not None and least is below is None:
            raise BadQuery("Say how many instances have that confidence, as in Person:4..@80")

    def __str__(self) -> str:
        # Before a colon, the name of a field would be one.
        text = f'"{self.name}"' if self.name in _FIELDS else _quoted(self.name)
        if self.min_confidence is not None:
            text += f">={_number(self.min_confidence)}"
        least, below = self.min_instances, self.fewer_than
        if below == (least or 0) + 1:
            text += f":{least or 0}"
        elif least or below:
            text += f":{least or ''}..{below - 1 if below else ''}"
        return text if self.instance_confidence is None else f"{text}@{_number(self.instance_confidence)}"


@dataclass(frozen=True)
class Span:
    """Some time.

    :param start: its first moment, to the millisecond; None if it has always been
    :param end: the first moment after it; None if it lasts for ever. A time without a zone is in UTC
    :raises BadQuery: if it has no moment, or no bound
    """

    start: datetime | None = None
    end: datetime | None = None

    def __post_init__(self) -> None:
        for name in ("start", "end"):
            if moment := getattr(self, name):
                moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
                object.__setattr__(self, name, moment.replace(microsecond=moment.microsecond // 1000 * 1000))
        if self.start is self.end is None:
            raise BadQuery("A time needs a start or an end")
        if self.start and self.end and self.start >= self.end:
            raise BadQuery("The start comes first, as in 2019..2021")

    @classmethod
    def parse(cls, text: str) -> Span:
        """Read a period, or two with dots between them; the second one is included.

        :raises BadQuery: if it is neither
        """
        first, dots, last = text.partition("..")
        try:
            start = _period(first)[0] if first or not dots else None
            end = _period(last or first)[1] if last or not dots else None
        except (ValueError, OverflowError):
            raise BadQuery(
                "A time is written 2021, 2021-03, 2021-03-05 or 2021-03-05T14:30, a span 2019..2021"
            ) from None
        return cls(start, end)

    def __str__(self) -> str:
        nothing = [""] * len(_LENGTHS)
        firsts = _written(self.start) if self.start else nothing
        lasts = _written(self.end - _TICK) if self.end else nothing
        # The shortest text that says it; the last one of each always does.
        return next(
            first if first == last else f"{first}..{last}"
            for first, last in zip(firsts, lasts, strict=True)
            if (not first or _period(first)[0] == self.start) and (not last or _period(last)[1] == self.end)
        )


@dataclass(frozen=True)
class Query:
    """What images have to have: all that is said. An empty query finds every image.

    :param all_of: labels that are all there
    :param any_of: labels of which at least one is there, if any are given
    :param none_of: labels of which none is there
    :param parents: for each, a label with this parent
    :param categories: for each, a label of this category
    :param photographer: in any case
    :param file_name: a star at its end stands for any end
    :param taken: when the picture was taken
    :param day: of ingest (``logical_date``)
    :param near: longitude and latitude in degrees, and how far away at most in metres
    :param box: west, south, east and north in degrees; it crosses the date line if east is less than west
    :raises BadQuery: if no image can be so

    ``str()`` of it is its text form, which :func:`parse` reads.
    """

    all_of: tuple[LabelTerm, ...] = ()
    any_of: tuple[LabelTerm, ...] = ()
    none_of: tuple[LabelTerm, ...] = ()
    parents: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    photographer: str | None = None
    file_name: str | None = None
    taken: Span | None = None
    day: Span | None = None
    near: tuple[float, float, float] | None = None
    box: tuple[float, float, float, float] | None = None

    def __post_init__(self) -> None:
        for text in (*self.parents, *self.categories, self.photographer, self.file_name):
            if text is not None:
                _check_text(text)
        if self.near:
            _check_place(*self.near[:2])
            if not 0 < self.near[2] <= _HALF_AROUND:
                raise BadQuery("A distance is more than 0 and at most 20,000 km")
        if self.box:
            west, south, east, north = self.box
            _check_place(west, south)
            _check_place(east, north)
            if west == east or south >= north:
                raise BadQuery("A box is written west,south,east,north")

    def __str__(self) -> str:
        parts = [str(term) for term in self.all_of]
        if self.any_of:
            parts.append(f"any:({' '.join(map(str, self.any_of))})")
        parts += [f"-{term}" for term in self.none_of]
        parts += [f"parent:{_quoted(name)}" for name in self.parents]
        parts += [f"category:{_quoted(name)}" for name in self.categories]
        texts = {"photographer": self.photographer, "file": self.file_name}
        parts += [f"{word}:{_quoted(text)}" for word, text in texts.items() if text is not None]
        parts += [f"{word}:{span}" for word, span in (("taken", self.taken), ("day", self.day)) if span]
        if self.near:
            longitude, latitude, metres = self.near
            kilometres = Decimal(repr(metres)) / 1000
            parts.append(f"near:{_number(longitude)},{_number(latitude)},{_number(kilometres)}")
        if self.box:
            parts.append(f"box:{','.join(map(_number, self.box))}")
        return " ".join(parts)


_BARE = re.compile(r'[^\s"()|:>-][^\s"()|:>]*')
_QUOTES = re.compile(r'"((?:[^"\\]|\\["\\])*)"')
_CONFIDENCE = r"[0-9]{1,3}(?:\.[0-9]+)?"
_AMOUNT = re.compile(
    rf"(?:>=(?P<confidence>{_CONFIDENCE}))?"
    rf"(?::(?:(?P<least>[0-9]{{0,6}})\.\.(?P<most>[0-9]{{0,6}})|(?P<exactly>[0-9]{{1,6}}))(?:@(?P<own>{_CONFIDENCE}))?)?"
    r"(?=[\s|)]|$)"
)
_VALUE = re.compile(r'[^\s"()|]+')
_DEGREES = re.compile(r"-?[0-9]{1,8}(?:\.[0-9]+)?")


def parse(text: str) -> Query:
    """Read a query's text form.

    :raises BadQuery: if it is none; it says where in the text
    """
    if len(text) > LONGEST:
        raise BadQuery(f"A query has at most {LONGEST:,} characters", LONGEST)
    return _Reader(text).query()


class _Reader:
    """Reads a text from left to right."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.lists: dict[str, list[Any]] = {
            "all_of": [], "any_of": [], "none_of": [], "parents": [], "categories": []
        }  # fmt: skip
        self.others: dict[str, Any] = {}

    def query(self) -> Query:
        while self.skip_blanks():
            began = self.at
            try:
                self.part()
                self.check_number()
            except BadQuery as error:
                raise BadQuery(error.problem, error.position or began) from None
        lists: dict[str, Any] = {name: tuple(of) for name, of in self.lists.items()}
        return Query(**lists, **self.others)

    def part(self) -> None:
        """Read one part of the query."""
        if self.take("-"):
            self.lists["none_of"].append(self.term())
        elif self.take("any:("):
            self.any_of(self.listed())
        elif field := self.field():
            self.value(field)
        else:
            terms = [self.term()]
            while self.take("|"):
                terms.append(self.term())
            if len(terms) == 1:
                self.lists["all_of"] += terms
            else:
                self.any_of(terms)

    def any_of(self, terms: list[LabelTerm]) -> None:
        if self.lists["any_of"]:
            raise BadQuery("A query has one choice of labels; put them all into it, as in Cat|Dog|Bird")
        self.lists["any_of"] = terms

    def listed(self) -> list[LabelTerm]:
        terms = []
        while not self.take(")"):
            if not self.skip_blanks():
                raise BadQuery("The list of labels has no end: a ) is missing")
            if self.take(")"):
                break
            terms.append(self.term())
        if not terms:
            raise BadQuery("The list of labels is empty; write any:(Cat Dog)")
        return terms

    def term(self) -> LabelTerm:
        began = self.at
        name = self.text_of(_BARE, "A label's name is expected here; quotes go around one with blanks or signs in it")
        amount = _AMOUNT.match(self.text, self.at)
        if not amount:
            raise BadQuery(
                f"After {name} there may be a confidence and a number of instances, as in Person>=90:2..4; "
                f"fields are {', '.join(_FIELDS)}",
                self.at,
            )
        self.at = amount.end()
        confidence, least, most, exactly, own = amount.groups()
        if least == most == "":
            raise BadQuery("A number of instances is written 4.., ..4, 2..4 or 4", began)
        least, most = exactly or least, exactly or most
        try:
            return LabelTerm(
                name,
                float(confidence) if confidence else None,
                int(least or 0) or None,
                int(most) + 1 if most else None,
                float(own) if own else None,
            )
        except BadQuery as error:
            raise BadQuery(error.problem, began) from None

    def field(self) -> str | None:
        """Read a field's name and its colon, if there is one."""
        return next((word for word in _FIELDS if self.take(f"{word}:")), None)

    def value(self, field: str) -> None:
        text = self.text_of(_VALUE, f"A value is expected after {field}:")
        attribute, read = _FIELDS[field]
        if attribute in self.lists:
            self.lists[attribute].append(text)
        elif attribute in self.others:
            raise BadQuery(f"There is another {field}: before; a query has one")
        else:
            self.others[attribute] = read(text)

    def text_of(self, bare: re.Pattern[str], problem: str) -> str:
        """Read a text in quotes, or a bare one."""
        if match := _QUOTES.match(self.text, self.at):
            self.at = match.end()
            return re.sub(r"\\(.)", r"\1", match[1])
        if self.text.startswith('"', self.at):
            raise BadQuery('A quote has no end; in a name \\" is a quote and \\\\ a backslash', self.at)
        match = bare.match(self.text, self.at)
        if not match:
            raise BadQuery(problem, self.at)
        self.at = match.end()
        return match[0]

    def take(self, text: str) -> bool:
        """Step over a text if it is next."""
        if self.text.startswith(text, self.at):
            self.at += len(text)
            return True
        return False

    def skip_blanks(self) -> bool:
        """Step over blanks and tell whether anything follows."""
        while self.at < len(self.text) and self.text[self.at].isspace():
            self.at += 1
        return self.at < len(self.text)

    def check_number(self) -> None:
        if sum(map(len, self.lists.values())) > MOST_TERMS:
            raise BadQuery(f"A query has at most {MOST_TERMS} labels, parents and categories")


def _near(text: str) -> tuple[float, float, float]:
    longitude, latitude, kilometres = _numbers(text, 3, "near:longitude,latitude,kilometres, as in near:103.85,1.29,5")
    return float(longitude), float(latitude), float(kilometres * 1000)


def _box(text: str) -> tuple[float, float, float, float]:
    west, south, east, north = _numbers(text, 4, "box:west,south,east,north, as in box:103.6,1.2,104.1,1.5")
    return float(west), float(south), float(east), float(north)


def _numbers(text: str, count: int, form: str) -> list[Decimal]:
    numbers = text.split(",")
    if len(numbers) != count or not all(map(_DEGREES.fullmatch, numbers)):
        raise BadQuery(f"A place is written {form}")
    return [Decimal(number) for number in numbers]


_FIELDS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "parent": ("parents", str),
    "category": ("categories", str),
    "photographer": ("photographer", str),
    "file": ("file_name", str),
    "taken": ("taken", Span.parse),
    "day": ("day", Span.parse),
    "near": ("near", _near),
    "box": ("box", _box),
}

_HALF_AROUND = 20_000_000
_TICK = timedelta(milliseconds=1)
_PERIOD = re.compile(
    r"([0-9]{4})(?:-([0-9]{2})(?:-([0-9]{2})(?:T([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:\.([0-9]{3}))?)?)?)?)?"
)
_LENGTHS = (4, 7, 10, 16, 19, 23)
"""Of a time as ISO 8601 writes it to the millisecond: where its year, month, day, minute, second and itself end."""
_SPANS = {10: timedelta(days=1), 16: timedelta(minutes=1), 19: timedelta(seconds=1), 23: _TICK}
"""How long a period is that is written at such a length; years and months differ."""


def _period(text: str) -> tuple[datetime, datetime]:
    """Return the first moment of a period and the first one after it.

    :raises ValueError: if it is none
    :raises OverflowError: if time ends before it does
    """
    match = _PERIOD.fullmatch(text)
    if not match:
        raise ValueError(text)
    year, month, day, hour, minute, second, thousandth = (
        int(part or least) for part, least in zip(match.groups(), (0, 1, 1, 0, 0, 0, 0), strict=True)
    )
    start = datetime(year, month, day, hour, minute, second, thousandth * 1000, UTC)
    if len(text) == len("2021"):
        return start, start.replace(year=year + 1)
    if len(text) == len("2021-03"):
        return start, start.replace(year=year + month // 12, month=month % 12 + 1)
    return start, start + _SPANS[len(text)]


def _written(moment: datetime) -> list[str]:
    """Return the periods that a moment is in, the longest first."""
    text = moment.replace(tzinfo=None).isoformat(timespec="milliseconds")
    return [text[:length] for length in _LENGTHS]


def _number(number: float | Decimal) -> str:
    """Write a number so that reading it gives the same one, without an exponent."""
    text = f"{Decimal(repr(number)) if isinstance(number, float | int) else number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _quoted(text: str) -> str:
    if _BARE.fullmatch(text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _check_text(text: str) -> None:
    # What is none of UTF-8 cannot be sent, and a tab parts the names in a token.
    if any(ord(sign) < 32 or 0xD800 <= ord(sign) <= 0xDFFF for sign in text):
        raise BadQuery("There is a sign in it that is none of text, such as a tab or a line's end")


def _check_place(longitude: float, latitude: float) -> None:
    if not (-180 <= longitude <= 180 and -90 <= latitude <= 90):
        raise BadQuery("The longitude comes first, -180 to 180 degrees, then the latitude, -90 to 90")
