"""What a SQL expression may consist of: nodes and functions that look at one row and nothing else.

Polars' SQL reads files and calls addresses while it only parses a sub-query, so a text is judged on
a syntax tree of its own before Polars sees it. What is not listed here is refused: sub-queries in
every spelling, functions that make tables, aggregates, windows, clocks and random numbers. Both
parsers must read the same text, so comments and foreign quotes, which one of them may understand
in another way, are refused too.
"""

import re
from collections.abc import Sequence
from functools import cache

from sqlglot import exp
from sqlglot.dialects.duckdb import DuckDB
from sqlglot.errors import SqlglotError
from sqlglot.tokens import Token, TokenType

from fulcrum.features.errors import ConfigError, nearest

LENGTH = 2_000
"""Characters of an expression, at most."""
WIDTH = 1_000
"""Of a text that LPAD and RPAD fill, at most."""
DEPTH = 100
"""Of the syntax tree, at most: `a + b + c` is 3 deep."""

FUNCTIONS = frozenset(
    "abs acos acosd asin asind atan atan2 atan2d atand cbrt ceil ceiling cos cosd cot cotd degrees "
    "exp floor ln log log10 log1p log2 mod pi pow power radians round sign sin sind sqrt tan "
    "tand trunc truncate bit_count bit_length bit_not xor "
    "date date_part date_trunc datetime day dayofweek dayofyear extract hour minute month quarter "
    "second strftime strptime time timestamp week year "
    "array_contains array_get array_length array_lower array_mean array_reverse array_sum "
    "array_to_string array_upper string_to_array "
    "char_length character_length concat concat_ws ends_with initcap left length lower lpad ltrim "
    "normalize octet_length position regexp_like regexp_replace replace reverse right rpad rtrim "
    "split_part starts_with strpos substr substring trim upper "
    "cast coalesce greatest if ifnull least nullif try_cast".split()
)
"""All are on a page of the docs, with an example each."""

NODES: tuple[type[exp.Expression], ...] = (
    *(exp.Column, exp.Identifier, exp.Literal, exp.Boolean, exp.Null, exp.Array),
    *(exp.Interval, exp.Paren, exp.Var, exp.Tuple, exp.Bracket),
    *(exp.DataType, exp.DataTypeParam, exp.Cast, exp.TryCast, exp.Case, exp.If),
    *(exp.Add, exp.Sub, exp.Mul, exp.Div, exp.IntDiv, exp.Mod, exp.Neg, exp.DPipe),
    *(exp.And, exp.Or, exp.Not, exp.BitwiseAnd, exp.BitwiseOr, exp.BitwiseXor),
    *(exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.NullSafeEQ, exp.NullSafeNEQ),
    *(exp.Is, exp.In, exp.Between, exp.Like, exp.ILike, exp.RegexpLike),
)
"""Beside functions, each with exactly these types."""
UNCALLED = (*DuckDB.Parser.NO_PAREN_FUNCTIONS.values(), exp.Collate, exp.NextValueFor)
"""Functions that no parentheses call, such as CURRENT_DATE."""


class _Dialect(DuckDB):
    """The nearest to Polars'. No text is a command, whatever its first word is."""

    class Tokenizer(DuckDB.Tokenizer):
        COMMANDS: set[TokenType] = set()


_SYMBOLS = frozenset("( ) [ ] , . + - * / // % = == != <> < <= > >= <=> || & | ~ ^@ ::".split())
_CALLABLE = FUNCTIONS | frozenset(
    "and or not in when then else case between like ilike is from decimal numeric".split()
)
"""Words that may stand before `(`: functions, operators, and types that have sizes."""
_BEFORE_VALUE = _SYMBOLS - {")", "]", ".", "::"} | {"and", "or", "when", "then", "else", "between"}
"""Behind these, and at the start, stands a value."""
_VALUE_WORDS = frozenset(
    "not case null true false interval exists select from table values with".split()
) | {kind.name.lower() for kind in DuckDB.Parser.NO_PAREN_FUNCTIONS}
"""With which a value begins, so none is read as a column's name."""
_NO_COLUMN = re.compile(r"=.*|\*|\^.*\$", re.DOTALL)
"""Names that Polars takes for patterns, and those of values."""
_QUOTED_TOKENS = (TokenType.STRING, TokenType.IDENTIFIER)
_QUOTED = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*\"""")
_FOREIGN = re.compile(r"--|/\*|[^\w\s()\[\],.+\-*/%=!<>|&~^@:'\"]|(?<!\^)@|[\w&]['\"]|['\"]\w")


@cache
def check(text: str) -> None:
    """Raises ConfigError, with what is in the way, for a text that is no expression over one row
    of the nodes and functions above."""
    if len(text) > LENGTH:
        raise _error(f"{text[:60]}...", f"it has more than {LENGTH:,} characters")
    foreign = _FOREIGN.search(_QUOTED.sub("''", text))
    if foreign:
        raise _error(text, f"`{foreign[0]}` stands outside of quotes")
    try:
        tokens = _Dialect().tokenize(text)
        if not tokens:
            raise _error(text, "it is empty")
        _free_words(tokens)
        trees = _Dialect().parser().parse_into(exp.Condition, tokens, text)
    except RecursionError:
        raise _error(text, "it is nested too deeply") from None
    except SqlglotError as error:
        raise _error(text, _reason(error)) from None
    if len(trees) != 1 or trees[0] is None:
        raise _error(text, "it cannot be read")
    for token, after in zip(tokens, [*tokens[1:], tokens[-1]], strict=True):
        _check_token(text, token, is_call=after.token_type is TokenType.L_PAREN)
    for node in trees[0].walk():
        if node.depth > DEPTH:
            raise _error(text, f"it is nested more than {DEPTH} deep")
        if type(node) in UNCALLED or not isinstance(node, (exp.Func, *NODES)):
            raise _error(text, f"it uses {_keyword(node)}")
        if fault := _fault(node):
            raise _error(text, fault)


def _fault(node: exp.Expression) -> str | None:
    """What of a node of the list is still out of bounds."""
    if isinstance(node, exp.Column) and len(node.parts) > 1:
        return f"`{'.'.join(part.name for part in node.parts)}` is more than the name of a column"
    if isinstance(node, exp.Identifier) and _NO_COLUMN.fullmatch(node.name):
        return f"`{node.name}` is no column's name"
    if isinstance(node, exp.Pad) and not 0 <= _whole(node.expression) <= WIDTH:
        return f"expected a width from 0 to {WIDTH:,} that is written out"
    if isinstance(node, exp.DataType) and node.expressions:
        precision, scale = (*map(_whole, node.expressions), 0)[:2]
        if not 0 <= scale <= precision <= 38 or precision == 0:
            return "expected DECIMAL(precision, scale) with scale <= precision <= 38"
    return None


def _whole(node: exp.Expression) -> int:
    """The number that a node spells, -1 where it spells none."""
    number = node.this if isinstance(node, exp.DataTypeParam) else node
    return int(number.name) if isinstance(number, exp.Literal) and number.is_int else -1


def _free_words(tokens: Sequence[Token]) -> None:
    """A word that stands where a value does is a column, as `like` in `like = 1`, unless values
    begin with it."""
    before = None
    for token, after in zip(tokens, [*tokens[1:], None], strict=True):
        begins = before is None or before in _BEFORE_VALUE
        stands = after is None or after.token_type not in (TokenType.L_PAREN, TokenType.STRING)
        word = token.text.lower() if token.token_type not in _QUOTED_TOKENS else ""
        if begins and stands and word.isidentifier() and word not in _VALUE_WORDS:
            token.token_type = TokenType.IDENTIFIER
        before = word


def _check_token(text: str, token: Token, is_call: bool) -> None:
    """Symbols, and words before `(`. Types of literals tell quotes, which `check` has seen."""
    if token.token_type in (TokenType.STRING, TokenType.NUMBER):
        return
    word = token.text.lower()
    if token.token_type is TokenType.IDENTIFIER or word.isidentifier():
        if is_call and (token.token_type is TokenType.IDENTIFIER or word not in _CALLABLE):
            hint = nearest(word, FUNCTIONS)
            raise _error(text, f"there is no function `{token.text}`{hint}")
    elif word not in _SYMBOLS:
        raise _error(text, f"there is no operator `{token.text}`")


def _keyword(node: exp.Expression) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(node).__name__).upper()


def _reason(error: SqlglotError) -> str:
    errors = getattr(error, "errors", None) or [{}]
    column = errors[0].get("col")
    return f"it cannot be read at column {column}" if column else "it cannot be read"


def _error(text: str, reason: str) -> ConfigError:
    return ConfigError(f"`{text}` is no SQL expression over one row: {reason}")
