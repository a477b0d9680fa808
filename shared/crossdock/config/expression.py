r"""A safe condition over DICOM keywords: ``Modality == "CT" and "CHEST" in StudyDescription``.

The language is a small part of Python's expressions: ``and or not``, comparisons, ``in``, text,
numbers, lists, and the text methods ``lower upper startswith endswith``. A name is a DICOM keyword
(PS3.6 6) or a fact of the association: ``store_node``, ``calling_ae_title``, ``called_ae_title``,
``address``. A value is the text as DICOM stores it, several values joined by a backslash, and
empty where the element is missing; beside a number it is compared as a number. A backslash in a
text is a backslash: ``ImageType == "ORIGINAL\PRIMARY"``. Nothing else can be
written, so an expression cannot reach, call or change anything.
"""

import ast
import operator
from collections.abc import Callable, Mapping
from typing import cast

from crossdock.config.naming import require_keyword


FACTS = ("store_node", "calling_ae_title", "called_ae_title", "address")

Value = str | float | bool | list[str | float]
_Term = Callable[[Mapping[str, str]], Value]

_MAX_LENGTH = 2000
_MAX_DEPTH = 40
_METHODS: dict[str, tuple[Callable[..., str | bool], int]] = {
    "lower": (str.lower, 0),
    "upper": (str.upper, 0),
    "startswith": (str.startswith, 1),
    "endswith": (str.endswith, 1),
}
_COMPARE: dict[type[ast.cmpop], Callable[[object, object], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,  # type: ignore[dict-item]  # operands are made alike before
    ast.LtE: operator.le,  # type: ignore[dict-item]
    ast.Gt: operator.gt,  # type: ignore[dict-item]
    ast.GtE: operator.ge,  # type: ignore[dict-item]
}


class Expression:
    """A compiled condition. ``names`` are the keywords and facts that it looks at.

    Raises:
        ValueError: the text is no condition; says what, where, and for a misspelt keyword the
            nearest one.
    """

    def __init__(self, text: str) -> None:
        if len(text) > _MAX_LENGTH:
            raise ValueError(f"a condition has at most {_MAX_LENGTH} characters")
        try:
            tree = ast.parse(text.strip().replace("\\", "\\\\"), mode="eval")
        except (SyntaxError, RecursionError, MemoryError, ValueError) as error:
            where = f" at character {error.offset}" if isinstance(error, SyntaxError) else ""
            raise ValueError(f"not a condition{where}: {_words(error)}") from None
        self.text = text
        self.names: set[str] = set()
        try:
            self._term = self._compile(tree.body, 0)
        except RecursionError:
            raise ValueError(f"nested deeper than {_MAX_DEPTH} levels") from None

    def __call__(self, values: Mapping[str, str]) -> bool:
        """Return whether the condition holds for ``values`` (keyword or fact → text)."""
        return bool(self._term(values))

    def _compile(self, node: ast.expr, depth: int) -> _Term:
        if depth > _MAX_DEPTH:
            raise ValueError(f"nested deeper than {_MAX_DEPTH} levels")
        for kind, build in _BUILDERS.items():
            if isinstance(node, kind):
                return build(self, node, depth + 1)
        raise ValueError(
            f"{ast.unparse(node)!r} cannot be used here; write conditions such as "
            f'Modality == "CT" and "CHEST" in StudyDescription'
        )

    def _bool_op(self, node: ast.BoolOp, depth: int) -> _Term:
        terms = [self._compile(value, depth) for value in node.values]
        combine = all if isinstance(node.op, ast.And) else any
        return lambda values: combine(term(values) for term in terms)

    def _unary_op(self, node: ast.UnaryOp, depth: int) -> _Term:
        term = self._compile(node.operand, depth)
        if isinstance(node.op, ast.Not):
            return lambda values: not term(values)
        if isinstance(node.op, ast.USub) and _is_number(node.operand):
            return lambda values: -cast("float", term(values))
        raise ValueError(f"{ast.unparse(node)!r}: only `not` and a number's minus sign")

    def _constant(self, node: ast.Constant, depth: int) -> _Term:
        del depth
        value = node.value
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise ValueError(f"{ast.unparse(node)!r}: only text in quotes and numbers")  # noqa: TRY004 — it is a text
        try:
            fixed = float(value) if isinstance(value, int) else value
        except OverflowError:
            raise ValueError("a number is too large") from None
        return lambda _values: fixed

    def _list(self, node: ast.List | ast.Tuple, depth: int) -> _Term:
        if not all(isinstance(item, ast.Constant) for item in node.elts):
            raise ValueError(f"{ast.unparse(node)!r}: a list holds only text and numbers")
        items = [cast("str | float", self._compile(item, depth)({})) for item in node.elts]
        return lambda _values: items

    def _name(self, node: ast.Name, depth: int) -> _Term:
        del depth
        name = node.id
        if name not in FACTS:
            require_keyword(name)
        self.names.add(name)
        return lambda values: values.get(name, "")

    def _call(self, node: ast.Call, depth: int) -> _Term:
        method = node.func
        if not isinstance(method, ast.Attribute) or method.attr not in _METHODS or node.keywords:
            raise ValueError(
                f"{ast.unparse(node)!r}: only the text methods {', '.join(_METHODS)} can be called"
            )
        function, arity = _METHODS[method.attr]
        if len(node.args) != arity:
            raise ValueError(f"{ast.unparse(node)!r}: {method.attr} takes {arity} argument(s)")
        subject = self._compile(method.value, depth)
        arguments = [self._compile(argument, depth) for argument in node.args]
        return lambda values: function(
            _text(subject(values)), *(_text(argument(values)) for argument in arguments)
        )

    def _compare(self, node: ast.Compare, depth: int) -> _Term:
        terms = [self._compile(part, depth) for part in (node.left, *node.comparators)]
        steps = list(zip(node.ops, terms, terms[1:], strict=False))
        for op, _, _ in steps:
            if not isinstance(op, (*_COMPARE, ast.In, ast.NotIn)):
                raise ValueError(f"{ast.unparse(node)!r}: `is` cannot be used, write ==")  # noqa: TRY004
        return lambda values: all(
            _holds(op, left(values), right(values)) for op, left, right in steps
        )


_BUILDERS: dict[type[ast.expr] | tuple[type[ast.expr], ...], Callable[..., _Term]] = {
    ast.BoolOp: Expression._bool_op,  # noqa: SLF001 — the table belongs to the class
    ast.UnaryOp: Expression._unary_op,  # noqa: SLF001
    ast.Constant: Expression._constant,  # noqa: SLF001
    (ast.List, ast.Tuple): Expression._list,  # noqa: SLF001
    ast.Name: Expression._name,  # noqa: SLF001
    ast.Call: Expression._call,  # noqa: SLF001
    ast.Compare: Expression._compare,  # noqa: SLF001
}


def _is_number(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, int | float)


def _holds(op: ast.cmpop, left: Value, right: Value) -> bool:
    if isinstance(op, ast.In | ast.NotIn):
        return _contains(right, left) is isinstance(op, ast.In)
    if isinstance(left, float) or isinstance(right, float):
        numbers = _number(left), _number(right)
        if None in numbers:
            return isinstance(op, ast.NotEq)
        return _COMPARE[type(op)](*numbers)
    return _COMPARE[type(op)](_text(left), _text(right))


def _contains(container: Value, item: Value) -> bool:
    if isinstance(container, list):
        return any(_holds(ast.Eq(), item, candidate) for candidate in container)
    return _text(item) in _text(container)


def _number(value: Value) -> float | None:
    try:
        return float(value)  # type: ignore[arg-type]  # a list raises TypeError
    except (TypeError, ValueError):
        return None


def _text(value: Value) -> str:
    if isinstance(value, float):
        return f"{value:.15g}"
    return str(value)


def _words(error: Exception) -> str:
    return error.msg if isinstance(error, SyntaxError) else str(error) or type(error).__name__
