"""Text to tokens: the first half of ``parse``. Follows Prometheus' lexer, its wording included."""

import re
from dataclasses import dataclass

from orrery.errors import Invalid
from orrery.languages.promql.nodes import AGGREGATIONS

QUERY_CHARACTERS_MAX = 1_000_000


class ParseError(Invalid):
    """The query is not PromQL; ``start`` is the character it goes wrong at."""

    def __init__(self, text: str, start: int, cause: str) -> None:
        self.start = start
        self.cause = cause
        super().__init__(f"{place(text, start)}: parse error: {cause}")


class EmptyQuery(ParseError):
    """There is nothing to point at."""

    def __init__(self) -> None:
        self.start = 0
        self.cause = "no expression found in input"
        Invalid.__init__(self, f"unknown position: parse error: {self.cause}")


def place(text: str, start: int) -> str:
    """``line:column`` as Prometheus counts: from one, columns in bytes of UTF-8."""
    line = text.count("\n", 0, start) + 1
    head = text[text.rfind("\n", 0, start) + 1 : start]
    return f"{line}:{len(head.encode('utf-8', 'surrogateescape')) + 1}"


@dataclass(frozen=True, slots=True)
class Token:
    """``kind`` is a class (identifier, number, ...) or, for symbols and keywords, their text."""

    kind: str
    text: str
    start: int
    end: int


KEYWORDS = frozenset({
    "offset", "smoothed", "anchored", "by", "without", "on", "ignoring", "group_left",
    "group_right", "fill", "fill_left", "fill_right", "bool", "start", "end", "step", "range",
})  # fmt: skip
WORD_OPERATORS = frozenset({"and", "or", "unless", "atan2"})
RESERVED = KEYWORDS | WORD_OPERATORS | AGGREGATIONS
OPERATORS = frozenset({
    "==", "!=", ">=", "<=", ">", "<", "=~", "!~", "+", "-", "*", "/", "%", "^", "@", "and",
    "or", "unless", "atan2",
})  # fmt: skip

_SPACE = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)+")
_NUMBER = re.compile(
    r"(?:0[xX]_?[0-9a-fA-F]+(?:_[0-9a-fA-F]+)*"
    r"|(?:\d+(?:_\d+)*\.?(?:\d+(?:_\d+)*)?|\.\d+(?:_\d+)*)(?:[eE][+-]?\d+(?:_\d+)*)?)"
    r"(?![0-9A-Za-z_.])"
)
_DURATION = re.compile(r"(?:\d+(?:ms|[smhdwy]))+(?![0-9A-Za-z_.])")
_NUMERIC = re.compile(r"[0-9A-Za-z_.]+")
_IDENTIFIER = re.compile(r"[A-Za-z_:][A-Za-z0-9_:]*")
_LABEL = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SYMBOL = re.compile(r"</|>/|==|=~|!=|!~|>=|<=|[-+*/%^@(){}\[\],:<>=]")
_QUOTED = re.compile(r'"(?:[^"\\\n]|\\[^\n])*"' + r"|'(?:[^'\\\n]|\\[^\n])*'" + r"|`[^`]*`")


class Lexer:
    def __init__(self, text: str) -> None:
        if len(text) > QUERY_CHARACTERS_MAX:
            raise Invalid(
                f"cannot parse query: it has {len(text)} characters, the limit "
                f"query_characters_max is {QUERY_CHARACTERS_MAX}"
            )
        self.text = text
        self.position = 0
        self.in_braces = False
        self.in_brackets = False
        self.open_parentheses: list[int] = []

    def fail(self, cause: str, start: int | None = None) -> ParseError:
        return ParseError(self.text, self.position if start is None else start, cause)

    def tokens(self) -> list[Token]:
        found = []
        while True:
            if space := _SPACE.match(self.text, self.position):
                self.position = space.end()
            if self.position >= len(self.text):
                break
            token = self.next_token()
            self.position = token.end
            found.append(token)
        self.check_closed()
        found.append(Token("end of input", "", len(self.text), len(self.text)))
        return found

    def check_closed(self) -> None:
        if self.in_braces:
            raise self.fail("unexpected end of input inside braces")
        if self.in_brackets:
            raise self.fail("unclosed left bracket")
        if self.open_parentheses:
            raise self.fail("unclosed left parenthesis")

    def next_token(self) -> Token:
        character = self.text[self.position]
        if character in "\"'`":
            return self.quoted()
        following = self.text[self.position + 1 : self.position + 2]
        if character.isdecimal() or (character == "." and following.isdecimal()):
            return self.number()
        pattern = _LABEL if self.in_braces or self.in_brackets else _IDENTIFIER
        if word := pattern.match(self.text, self.position):
            return self.word(word.group(), word.end())
        return self.symbol()

    def quoted(self) -> Token:
        match = _QUOTED.match(self.text, self.position)
        if match is None:
            raw = self.text[self.position] == "`"
            raise self.fail(f"unterminated {'raw' if raw else 'quoted'} string")
        return Token("string", match.group(), match.start(), match.end())

    def number(self) -> Token:
        for kind, pattern in (("duration", _DURATION), ("number", _NUMBER)):
            if match := pattern.match(self.text, self.position):
                return Token(kind, match.group(), match.start(), match.end())
        match = _NUMERIC.match(self.text, self.position)
        bad = match.group() if match else self.text[self.position]
        raise self.fail(f"bad number or duration syntax: {go_quote(bad)}")

    def word(self, word: str, end: int) -> Token:
        if self.in_braces:
            return Token("identifier", word, self.position, end)
        lower = word.lower()
        if lower in ("inf", "nan"):
            return Token("number", word, self.position, end)
        if lower in RESERVED:
            return Token(lower, word, self.position, end)
        kind = "metric identifier" if ":" in word else "identifier"
        return Token(kind, word, self.position, end)

    def symbol(self) -> Token:
        match = _SYMBOL.match(self.text, self.position)
        if match is None:
            where = " inside braces" if self.in_braces else ""
            raise self.fail(f"unexpected character{where}: {go_rune(self.text[self.position])}")
        symbol = match.group()
        self.track(symbol)
        return Token(symbol, symbol, match.start(), match.end())

    def track(self, symbol: str) -> None:
        if symbol == "{":
            if self.in_braces:
                raise self.fail("unexpected left brace '{'")
            self.in_braces = True
        elif symbol == "}":
            if not self.in_braces:
                raise self.fail("unexpected right brace '}'")
            self.in_braces = False
        elif symbol == "[":
            if self.in_brackets:
                raise self.fail("unexpected left bracket '['")
            self.in_brackets = True
        elif symbol == "]":
            if not self.in_brackets:
                raise self.fail("unexpected right bracket ']'")
            self.in_brackets = False
        elif symbol == "(":
            self.open_parentheses.append(self.position)
        elif symbol == ")":
            if not self.open_parentheses:
                raise self.fail("unexpected right parenthesis ')'", self.position + 1)
            self.open_parentheses.pop()
        elif symbol in ("</", ">/"):
            raise self.fail(f"operator {symbol!r} works on native histograms: not supported yet")


def describe(token: Token) -> str:
    """A token as a syntax error names it."""
    if token.kind == "end of input":
        return "end of input"
    if token.kind in AGGREGATIONS:
        return f"<aggr:{token.kind}>"
    if token.kind in KEYWORDS:
        return f"<{token.kind}>"
    if token.kind in OPERATORS:
        return f"<op:{token.kind}>"
    text = go_quote(token.text)
    if token.kind in ("string", "number", "duration") and len(token.text) > 10:
        text = go_quote(token.text[:10]) + "..."
    named = ("identifier", "metric identifier", "string", "number", "duration")
    return f"{token.kind} {text}" if token.kind in named else text


_ESCAPES = {
    "a": 7, "b": 8, "f": 12, "n": 10, "r": 13, "t": 9, "v": 11, "\\": 92, "'": 39, '"': 34,
}  # fmt: skip
_DIGIT_COUNTS = {"x": (2, 16), "u": (4, 16), "U": (8, 16)}


def unquote(token: Token, text: str) -> str:
    """The value of a Go string literal; bytes that are not UTF-8 become lone surrogates."""
    quote, body = token.text[0], token.text[1:-1]
    if quote == "`":
        return body
    out = bytearray()
    position = 0
    while position < len(body):
        if body[position] != "\\":
            out += body[position].encode("utf-8", "surrogateescape")
            position += 1
            continue
        encoded, position = _escape(body, position + 1, quote, token, text)
        out += encoded
    return out.decode("utf-8", "surrogateescape")


def _escape(body: str, position: int, quote: str, token: Token, text: str) -> tuple[bytes, int]:
    character = body[position]
    if character in _ESCAPES and not (character in "'\"" and character != quote):
        return bytes([_ESCAPES[character]]), position + 1
    if character in _DIGIT_COUNTS:
        count, base = _DIGIT_COUNTS[character]
        position += 1
    elif character in "01234567":
        count, base = 3, 8
    else:
        raise ParseError(text, token.start, f"unknown escape sequence {go_rune(character)}")
    digits = body[position : position + count]
    allowed = "01234567" if base == 8 else "0123456789abcdefABCDEF"
    if len(digits) < count or any(digit not in allowed for digit in digits):
        raise ParseError(text, token.start, "illegal character in escape sequence")
    value = int(digits, base)
    if count in (4, 8):
        if value > 0x10FFFF or 0xD800 <= value < 0xE000:
            raise ParseError(text, token.start, "escape sequence is an invalid Unicode code point")
        return chr(value).encode(), position + count
    if value > 255:
        raise ParseError(text, token.start, "octal escape value over 255")
    return bytes([value]), position + count


_SHORT = {
    "\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v",
    "\\": "\\\\", '"': '\\"',
}  # fmt: skip


def go_quote(text: str) -> str:
    """``text`` as Go's ``%q`` writes it."""
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    return '"' + "".join(_quote_character(character) for character in text) + '"'


def _quote_character(character: str) -> str:
    code = ord(character)
    if character in _SHORT:
        return _SHORT[character]
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    if character.isprintable():
        return character
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def go_rune(character: str) -> str:
    """One character as Go's ``%q`` writes a rune."""
    if character == "'":
        return "'\\''"
    return "'" + go_quote(character)[1:-1].replace('\\"', '"') + "'"


def is_utf8(text: str) -> bool:
    """Whether a literal held only UTF-8: other bytes are lone surrogates."""
    return not any("\ud800" <= character <= "\udfff" for character in text)
