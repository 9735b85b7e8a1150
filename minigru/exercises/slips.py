"""The slips that people make in a line of a gradient, made by changing one place of the right line at a time.

A slip is recognised by its value, whatever way it is written. The words say what one has done instead of the right
thing: "without the term `drc * gamma_r`", "with `c` in place of `c_prev`".
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from itertools import combinations

Others = Callable[[str], list[str]]  # from a name to the names of other arrays of its shape


def slips(tree: ast.AST, others: Others, targets: tuple[str, ...] = ()) -> Iterator[str]:
    """Change one place of `tree`, yield what is changed in words, and put it back before the next.

    Parameters
    ----------
    tree : a statement or an expression
    others : the names that may be written by mistake in place of a name
    targets : the names that the statement assigns
    """
    yield from forgotten(tree, targets)
    yield from confused(tree, others)


def forgotten(tree: ast.AST, targets: tuple[str, ...] = ()) -> Iterator[str]:
    """Do as `slips` does, for what is left out of an expression or has another form."""
    for put, node in [*_places(tree)]:
        for words, change in _structure(node, targets):
            put(change)
            yield words.replace("'", '"')
            put(node)


def confused(tree: ast.AST, others: Others) -> Iterator[str]:
    """Do as `slips` does, for a name in place of another."""
    places = [*_places(tree)]
    for put, node in places:
        for words, change in _names(node, others):
            put(change)
            yield words.replace("'", '"')
            put(node)
    loaded = [node for _, node in places if isinstance(node, ast.Name)]
    for name in dict.fromkeys(node.id for node in loaded):
        same = [node for node in loaded if node.id == name]
        for other in others(name) if len(same) > 1 else ():
            for node in same:
                node.id = other
            yield f"with `{other}` in place of `{name}`"
            for node in same:
                node.id = name


def _places(tree: ast.AST) -> Iterator[tuple[Callable[[ast.expr], None], ast.expr]]:
    """Yield each expression in a tree, the outer ones first, and a function that puts another one in its place."""
    for field, value in ast.iter_fields(tree):
        if field in ("body", "orelse") and isinstance(value, list):  # of a loop: they are statements of their own
            continue
        for index, node in enumerate(value if isinstance(value, list) else [value]):
            if not isinstance(node, ast.AST):
                continue
            stored = isinstance(getattr(node, "ctx", None), ast.Store)
            inner = _is(tree, ast.Mult) and _is(node, ast.Mult)  # a part of a longer product
            if isinstance(node, ast.expr) and not stored and not inner and field not in ("func", "slice"):

                def put(new: ast.expr, field: str = field, value: object = value, index: int = index) -> None:
                    if isinstance(value, list):
                        value[index] = new
                    else:
                        setattr(tree, field, new)

                yield put, node
            yield from _places(node)


def _is(node: ast.AST, operator: type[ast.operator]) -> bool:
    return isinstance(node, ast.BinOp) and isinstance(node.op, operator)


def _code(text: str) -> ast.expr:
    return ast.parse(text, mode="eval").body


def _structure(node: ast.expr, targets: tuple[str, ...]) -> Iterator[tuple[str, ast.expr]]:
    """Yield the changes of an expression that forget a part of it, or take another form."""
    text = ast.unparse(node)
    if _is(node, ast.Mult):
        factors = [ast.unparse(factor) for factor in _factors(node)]
        for count in range(1, len(factors)):
            for left_out in combinations(range(len(factors)), count):
                words = " and ".join(f"`{factors[i].strip('()')}`" for i in left_out)
                kept = [_bracket(factors[i]) for i in range(len(factors)) if i not in left_out]
                yield f"without the factor {words}", _code(" * ".join(kept))
        for gate in factors:
            if f"1 - {gate}" in factors:
                rest = [_bracket(factor) for factor in factors if factor not in (gate, f"1 - {gate}")]
                slope = f"(1 - {gate} ** 2)"
                yield "with the slope of tanh in place of that of sigmoid", _code(" * ".join([*rest, slope]))
    if isinstance(node, ast.BinOp):
        left, right = _bracket(ast.unparse(node.left)), _bracket(ast.unparse(node.right))
        if left == "1" and isinstance(node.op, ast.Sub):
            yield f"with `{right.strip('()')}` in place of `{text}`", node.right
            if right.endswith("** 2)"):
                base = ast.unparse(node.right.left)  # type: ignore[attr-defined]
                yield "with the slope of sigmoid in place of that of tanh", _code(f"{base} * (1 - {base})")
        elif isinstance(node.op, (ast.Add, ast.Sub)):
            sign = "-" if isinstance(node.op, ast.Sub) else ""
            term, other = ast.unparse(node.right), ast.unparse(node.left)
            yield f"without the term `{term}`", node.left
            forgotten = ", that is, with `=` in place of `+=`" if left in targets else ""
            yield f"without the term `{other}`{forgotten}", _code(f"{sign}{right}")
            yield "with the wrong sign", _code(f"{right} - {left}")
            yield from _weights(node)
            yield f"with the wrong sign before `{term}`", _code(f"{left} {'+' if sign else '-'} {right}")
        if isinstance(node.op, ast.MatMult) and left.endswith(".T)"):
            yield "with the mean over the batch in place of the sum", _code(f"({text}) / len({right})")
        if isinstance(node.op, ast.Div):
            yield f"without the division by `{right}`", node.left
        if isinstance(node.op, ast.Pow):
            yield f"without the square of `{left}`" if right == "2" else f"without the power `{right}`", node.left
    if isinstance(node, ast.UnaryOp):
        yield "with the wrong sign", node.operand
    if isinstance(node, ast.Attribute) and node.attr == "T":
        matrix = ast.unparse(node.value)
        yield f"without the transpose of `{matrix}`", _code(f"({matrix})[:({matrix}).shape[1]]")
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Slice):
        yield f"without `[{ast.unparse(node.slice)}]`", node.value
    if isinstance(node, ast.Call):
        yield from _calls(node)


def _weights(node: ast.BinOp) -> Iterator[tuple[str, ast.expr]]:
    """Yield a mean, a * b + (1 - a) * c, with its two weights exchanged."""
    if isinstance(node.op, ast.Add) and _is(node.left, ast.Mult) and _is(node.right, ast.Mult):
        products = [[ast.unparse(factor) for factor in _factors(n)] for n in (node.left, node.right)]
        (weight, *one), (rest, *other) = products
        if rest == f"1 - {weight}" and len(one) == len(other) == 1:
            words = f"with `{weight}` and `{rest}` the other way round"
            yield words, _code(f"({rest}) * {_bracket(one[0])} + {weight} * {_bracket(other[0])}")


def _calls(node: ast.Call) -> Iterator[tuple[str, ast.expr]]:
    called, args = ast.unparse(node.func), [ast.unparse(arg) for arg in node.args]
    if called == "concat":
        yield f"with [{args[1]}, {args[0]}] in place of [{args[0]}, {args[1]}]", _code(f"concat({args[1]}, {args[0]})")
    elif isinstance(node.func, ast.Attribute) and node.func.attr in ("sum", "max"):
        inner = _bracket(ast.unparse(node.func.value))
        if any(word.arg == "axis" and ast.unparse(word.value) == "0" for word in node.keywords):
            yield "without the sum over the batch: it is one sample's", _code(f"{inner}[0]")
            yield "without the sum over the batch", _code(inner)
            yield "with the mean over the batch in place of the sum", _code(f"{inner}.mean(axis=0)")
        elif node.keywords:
            yield (
                f"with `.{node.func.attr}()` of the whole batch in place of that of each sample",
                _code(f"{inner}.{node.func.attr}()"),
            )
            yield "with the other axis", _code(f"{inner}.{node.func.attr}(axis=0, keepdims=True)")
    elif len(args) == 2 and called in ("np.subtract", "np.divide"):
        words = f"with `{args[0]}` and `{args[1]}` the other way round in {called}"
        yield words, ast.Call(node.func, node.args[::-1], node.keywords)
    elif len(args) == 1 and called != "np.stack":
        yield f"without `{called.removeprefix('np.')}`", node.args[0]
        swap = {"np.tanh": "sigmoid", "sigmoid": "np.tanh"}.get(called)
        if swap:
            words = f"with {swap.removeprefix('np.')} in place of {called.removeprefix('np.')}"
            yield words, _code(f"{swap}({args[0]})")


def _names(node: ast.expr, others: Others) -> Iterator[tuple[str, ast.expr]]:
    """Yield the changes of an expression that put another array in the place of one."""
    text = ast.unparse(node)
    if isinstance(node, (ast.Name, ast.Subscript)):
        for other in others(text):
            yield f"with `{other}` in place of `{text}`", _code(other)
        if text.startswith("gamma"):
            yield f"with `1 - {text}` in place of `{text}`", _code(f"1 - {text}")
        elif not text.startswith("d"):  # a memory that passes a gate
            for gate in filter(lambda other: other.startswith("gamma"), others(text)):
                yield f"with `{gate} * {text}` in place of `{text}`", _code(f"{gate} * {text}")


def _factors(node: ast.expr) -> list[ast.expr]:
    """Return the factors of a product, in order."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        return [*_factors(node.left), *_factors(node.right)]
    return [node]


def _bracket(text: str) -> str:
    """Return a piece of code with brackets around it if it needs them as a part of another."""
    return text if isinstance(_code(text), (ast.Name, ast.Constant, ast.Call, ast.Subscript)) else f"({text})"
