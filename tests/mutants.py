# SPDX-License-Identifier: BSD-3-Clause
"""Mutants of a module: one small change each of its syntax tree, as a program might be wrong.

A comparison, an operator, a sign, a condition or a number is another one, a call has an argument
less, a function returns None, a statement that is a call is gone. What only speaks is left alone:
docstrings, annotations, what is raised, and f-strings but in the printers of ``codegen``.
"""

from __future__ import annotations

import ast
import types
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

Functions = dict[tuple[str, int], list[types.FunctionType]]  # by name and first line

SWAPS: dict[type[ast.AST], type[ast.AST]] = {}
for one, other in (
    (ast.Add, ast.Sub), (ast.Mult, ast.Div), (ast.BitAnd, ast.BitOr), (ast.And, ast.Or),
    (ast.Lt, ast.LtE), (ast.Gt, ast.GtE), (ast.Eq, ast.NotEq), (ast.Is, ast.IsNot),
    (ast.In, ast.NotIn),
):  # fmt: skip
    SWAPS |= {one: other, other: one}
SWAPS |= {ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult, ast.Pow: ast.Mult, ast.MatMult: ast.Mult}


@dataclass(eq=False)
class Mutant:
    """One change: ``field`` of a node of the tree has another value."""

    key: str  # where and what, in words that stay when lines move
    line: int
    lines: set[int]  # a test that executes none of them cannot notice; empty where any may
    tree: ast.Module
    file: str
    owners: list[ast.AST]  # classes and functions around it
    node: ast.AST
    field: str
    value: object

    def install(self, module: types.ModuleType, live: Functions) -> None:
        """Put it into the running process, given the functions of the module's file."""
        setattr(self.node, self.field, self.value)
        function = next((each for each in self.owners if isinstance(each, ast.FunctionDef)), None)
        if function is None:
            self._assign(module)
        elif isinstance(self.node, ast.arguments):
            self._set_defaults(function, live)
        else:
            whole = compile(ast.fix_missing_locations(self.tree), self.file, "exec")
            (code,) = (each for each in inside(whole) if place(each) == place(function))
            for each in (code, *inside(code)):
                for one in live.get(place(each), ()):
                    one.__code__ = each

    def _assign(self, module: types.ModuleType) -> None:
        """Carry out an assignment of the module or of a class again."""
        tree = ast.fix_missing_locations(ast.Module([self.owners[-1]], []))
        owner, names = module, dict(vars(module))
        for each in self.owners[:-1]:
            owner = getattr(owner, each.name)
        names = dict(vars(module))
        exec(compile(tree, self.file, "exec"), names)
        for target in ast.walk(tree):
            if isinstance(target, ast.Name) and isinstance(target.ctx, ast.Store):
                setattr(owner, target.id, names[target.id])

    def _set_defaults(self, function: ast.FunctionDef, live: Functions) -> None:
        for each in live[place(function)]:
            if self.field == "defaults":
                olds = each.__defaults__ or ()
                news = zip(olds, function.args.defaults, strict=True)
                each.__defaults__ = tuple(changed(*pair) for pair in news)
            else:
                pairs = zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True)
                olds = each.__kwdefaults__
                news = {k.arg: changed(olds[k.arg], v) for k, v in pairs if v is not None}
                each.__kwdefaults__ = news


def mutants_of(source: str, file: str) -> list[Mutant]:
    """All mutants of a module, in the order of its lines."""
    tree = ast.parse(source)
    printer = "/codegen/" in file
    found: list[Mutant] = []
    seen: Counter[str] = Counter()
    for owners, statement, node, field, value in changes(tree, [], printer):
        old = getattr(node, field)
        before = shown(node, field, old, value)
        setattr(node, field, value)
        after = shown(node, field, value, old)
        setattr(node, field, old)
        path = ".".join(each.name for each in owners if hasattr(each, "name"))
        key = f"{path}: {before} → {after}"
        seen[key] += 1
        if seen[key] > 1:
            key += f" ({seen[key]})"
        line = getattr(node, "lineno", statement.lineno)
        end = getattr(node, "end_lineno", statement.lineno)
        body = isinstance(node, ast.stmt) and field == "body"
        lines = set(range(statement.lineno, (statement.lineno if body else end) + 1))
        if body:  # one statement of several
            gone = next(a for a, b in zip(old, value, strict=True) if a is not b)
            line, lines = gone.lineno, set(range(gone.lineno, gone.end_lineno + 1))
        function = next((each for each in owners if isinstance(each, ast.FunctionDef)), None)
        if function is None:
            lines = set()
        elif isinstance(node, ast.arguments):
            lines = set(range(function.body[0].lineno, function.end_lineno + 1))
        found.append(Mutant(key, line, lines, tree, file, owners, node, field, value))
    return found


Found = tuple[list[ast.AST], ast.stmt, ast.AST, str, object]


def changes(tree: ast.Module, owners: list[ast.AST], printer: bool) -> Iterator[Found]:
    """Every change, with the definitions and the statement around it."""
    for statement in tree.body if isinstance(tree, ast.Module | ast.ClassDef) else []:
        if isinstance(statement, ast.ClassDef):
            yield from changes(statement, [*owners, statement], printer)
        elif isinstance(statement, ast.FunctionDef):
            for each in defaults(statement.args):
                yield [*owners, statement], statement, statement.args, *each
            yield from within(statement, statement, [*owners, statement], printer)
        elif isinstance(statement, ast.Assign | ast.AnnAssign) and is_constant(statement):
            yield from within(statement, statement, [*owners, statement], printer)


def within(
    node: ast.AST, statement: ast.stmt, owners: list[ast.AST], printer: bool
) -> Iterator[Found]:
    """The changes of a node and of all that it holds."""
    for field, value in own_changes(node):
        yield owners, statement, node, field, value
    for field, children in spoken_of(node, printer):
        several = children if isinstance(children, list) else [children]
        for i, child in enumerate(several):
            if not isinstance(child, ast.AST):
                continue
            for new in replacements(child, node):
                value = [*several[:i], new, *several[i + 1 :]] if several is children else new
                yield owners, statement, node, field, value
            inner = child if isinstance(child, ast.stmt) else statement
            if is_negative_number(child):
                continue
            yield from within(child, inner, owners, printer)


def own_changes(node: ast.AST) -> Iterator[tuple[str, object]]:
    """Changes of a node itself."""
    if isinstance(node, ast.BinOp | ast.BoolOp | ast.AugAssign) and type(node.op) in SWAPS:
        yield "op", SWAPS[type(node.op)]()
    if isinstance(node, ast.Compare):
        for i, each in enumerate(node.ops):
            yield "ops", [*node.ops[:i], SWAPS[type(each)](), *node.ops[i + 1 :]]
    if isinstance(node, ast.If | ast.While | ast.IfExp) and not is_negated_elsewhere(node.test):
        yield "test", ast.UnaryOp(ast.Not(), node.test)
    if isinstance(node, ast.Return) and not is_none(node.value):
        yield "value", ast.Constant(None)
    if isinstance(node, ast.Call) and not is_cast(node):
        if len(node.args) > 1 and (isinstance(node.func, ast.Attribute) or is_builtin(node)):
            yield "args", node.args[:-1]
        for i, each in enumerate(node.keywords):
            if each.arg != "strict":  # zip only checks itself with it
                yield "keywords", node.keywords[:i] + node.keywords[i + 1 :]


def replacements(child: ast.AST, parent: ast.AST) -> Iterator[ast.AST]:
    """What may stand in the place of a node."""
    if isinstance(child, ast.Expr) and isinstance(child.value, ast.Call):
        yield ast.copy_location(ast.Pass(), child)
    if is_negative_number(child):
        (more,) = others(child.operand)
        yield ast.UnaryOp(ast.USub(), more)
    elif isinstance(child, ast.UnaryOp):
        yield child.operand
    if isinstance(child, ast.Constant) and not isinstance(parent, ast.Expr):
        yield from others(child)


def others(constant: ast.Constant) -> Iterator[ast.Constant]:
    """Another constant: one more, not, or a text that means nothing."""
    value = constant.value
    if isinstance(value, bool):
        yield ast.copy_location(ast.Constant(not value), constant)
    elif isinstance(value, int | float):
        yield ast.copy_location(ast.Constant(value + 1), constant)
    elif isinstance(value, str):
        yield ast.copy_location(ast.Constant(value + "?"), constant)


def defaults(arguments: ast.arguments) -> Iterator[tuple[str, object]]:
    for field in ("defaults", "kw_defaults"):
        values = getattr(arguments, field)
        for i, each in enumerate(values):
            if isinstance(each, ast.Constant):
                for new in others(each):
                    yield field, [*values[:i], new, *values[i + 1 :]]


def spoken_of(node: ast.AST, printer: bool) -> Iterator[tuple[str, object]]:
    """The fields of a node that do something."""
    if isinstance(node, ast.Raise) or (isinstance(node, ast.JoinedStr) and not printer):
        return
    for field, children in ast.iter_fields(node):
        if field in ("annotation", "returns", "decorator_list", "args") and not isinstance(
            node, ast.Call
        ):
            continue
        if field == "args" and is_cast(node):
            yield field, children[1:]
        elif field == "keywords":
            yield field, [each for each in children if each.arg != "strict"]
        elif field != "format_spec":
            yield field, children


def is_cast(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and getattr(node.func, "id", "") == "cast"


def is_builtin(call: ast.Call) -> bool:
    """Whether a function of Python is called that takes any number of arguments."""
    return getattr(call.func, "id", "") in ("max", "min", "sum", "range", "round")


def is_negative_number(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.UnaryOp)
        and isinstance(node.op, ast.USub)
        and isinstance(node.operand, ast.Constant)
    )


def is_negated_elsewhere(test: ast.expr) -> bool:
    """Whether another mutant of a condition is its contrary, or contains it."""
    exact = (ast.Eq, ast.NotEq, ast.Is, ast.IsNot, ast.In, ast.NotIn)
    return isinstance(test, ast.BoolOp | ast.UnaryOp) or (
        isinstance(test, ast.Compare) and len(test.ops) == 1 and isinstance(test.ops[0], exact)
    )


def is_constant(statement: ast.Assign | ast.AnnAssign) -> bool:
    """Whether a constant of a class or module is assigned, which is no field of a dataclass."""
    if isinstance(statement, ast.AnnAssign) and "ClassVar" not in ast.unparse(statement.annotation):
        return False
    kinds = (
        ast.Constant | ast.BinOp | ast.UnaryOp | ast.Tuple | ast.operator | ast.unaryop | ast.Load
    )
    value = statement.value
    return value is not None and all(isinstance(each, kinds) for each in ast.walk(value))


def shown(node: ast.AST, field: str, value: object, other: object) -> str:
    """The code of a change: the expression around it, or the statement."""
    if isinstance(node, ast.stmt) and isinstance(value, list):
        ((value, _),) = ((a, b) for a, b in zip(value, other, strict=True) if a is not b)
        return ast.unparse(value)
    if isinstance(node, ast.If | ast.While):
        return ast.unparse(value)
    return " ".join(ast.unparse(node).split())


def changed(old: object, new: ast.expr) -> object:
    """A default that may be another constant now."""
    return new.value if isinstance(new, ast.Constant) else old


def inside(code: types.CodeType) -> Iterator[types.CodeType]:
    """All code objects that a code object holds."""
    for each in code.co_consts:
        if isinstance(each, types.CodeType):
            yield each
            yield from inside(each)


def place(of: types.CodeType | ast.FunctionDef) -> tuple[str, int]:
    """Name and first line, that of the first decorator if there is one."""
    if isinstance(of, types.CodeType):
        return of.co_name, of.co_firstlineno
    return of.name, min([of.lineno, *(each.lineno for each in of.decorator_list)])


def functions(objects: list[object], file: str) -> Functions:
    """The functions among ``objects`` that were made from a file."""
    found: Functions = defaultdict(list)
    for each in objects:
        if type(each) is types.FunctionType and each.__code__.co_filename == file:
            found[place(each.__code__)].append(each)
    return found


def is_none(value: ast.expr | None) -> bool:
    return value is None or (isinstance(value, ast.Constant) and value.value is None)
