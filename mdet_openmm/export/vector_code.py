"""The inner blocks of the compiled attention, in LLVM's own language, as functions that numba's loops call.

Numba's vectoriser tests at every short loop whether its arrays overlap, and keeps sums in memory. Here sums stay in the
registers. Addresses are integers, in bytes; all other sizes count numbers.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.core import cgutils, config
from numba.extending import intrinsic

ROWS: Final = 4
"""Rows that share every vector that is loaded."""
GROUP: Final = 4
"""Numbers of a head at a time; its width must be a multiple of this."""
_WIDE: Final = "+avx512f" in (config.CPU_FEATURES or llvm.get_host_cpu_features().flatten())
_REGISTER: Final = 64 if _WIDE else 32
_PARTS: Final = GROUP if _WIDE else 2  # of a group, whose sums fit into the registers at once
_INT: Final = ir.IntType(64)
_INT32: Final = ir.IntType(32)


def lanes(itemsize: int) -> int:
    """Numbers of one vector."""
    return _REGISTER // itemsize


class _Vectors:
    """Writes instructions for vectors of one kind of number."""

    def __init__(self, builder: Any, kind: Any) -> None:
        self.builder = builder
        self.scalar = ir.FloatType() if kind == types.float32 else ir.DoubleType()
        self.size = kind.bitwidth // 8
        self.lanes = lanes(self.size)
        self.vector = ir.VectorType(self.scalar, self.lanes)
        self.group = ir.VectorType(self.scalar, GROUP)

    def at(self, base: Any, *terms: Any) -> Any:
        """Address of the number at the sum of these terms; a term is an index or a product of two."""
        index = integer(0)
        for term in terms:
            index = self.builder.add(index, self.builder.mul(*term) if isinstance(term, tuple) else term)
        return self.builder.add(base, self.builder.mul(index, integer(self.size)))

    def load(self, address: Any, kind: Any = None) -> Any:
        pointer = self.builder.inttoptr(address, (kind or self.vector).as_pointer())
        return self.builder.load(pointer, align=self.size)

    def store(self, value: Any, address: Any) -> None:
        self.builder.store(value, self.builder.inttoptr(address, value.type.as_pointer()), align=self.size)

    def spread(self, value: Any) -> Any:
        """A vector of one number."""
        undefined = ir.Constant(self.vector, ir.Undefined)
        one = self.builder.insert_element(undefined, value, ir.Constant(_INT32, 0))
        return self.shuffle(one, undefined, [0] * self.lanes)

    def shuffle(self, a: Any, b: Any, order: Sequence[int]) -> Any:
        mask = ir.Constant(ir.VectorType(_INT32, len(order)), list(order))
        return self.builder.shuffle_vector(a, b, mask)

    def interleaved(self, a: Any, b: Any) -> tuple[Any, Any]:
        """a0 b0 a1 b1 ..., in two vectors."""
        order = [lane for i in range(self.lanes) for lane in (i, self.lanes + i)]
        return self.shuffle(a, b, order[: self.lanes]), self.shuffle(a, b, order[self.lanes :])

    def separated(self, a: Any, b: Any) -> tuple[Any, Any]:
        """The inverse of `interleaved`."""
        return self.shuffle(a, b, range(0, 2 * self.lanes, 2)), self.shuffle(a, b, range(1, 2 * self.lanes, 2))

    def by_lane(self, a: Any, b: Any, c: Any, d: Any) -> Iterator[Any]:
        """The groups a0 b0 c0 d0, a1 b1 c1 d1, ..."""
        (low, high), (low2, high2) = self.interleaved(a, c), self.interleaved(b, d)
        for vector in (*self.interleaved(low, low2), *self.interleaved(high, high2)):
            for begin in range(0, self.lanes, GROUP):
                yield self.shuffle(vector, vector, range(begin, begin + GROUP))

    def times(self, a: Any, b: Any) -> Any:
        return self.builder.fmul(a, b, flags=("contract",))

    def accumulators(self, count: int) -> list[Any]:
        """Zeros; LLVM keeps them in registers."""
        slots = [cgutils.alloca_once(self.builder, self.vector) for _ in range(count)]
        for slot in slots:
            self.builder.store(ir.Constant(self.vector, None), slot)
        return slots

    def accumulate(self, slot: Any, product: Any) -> None:
        self.builder.store(self.builder.fadd(self.builder.load(slot), product, flags=("contract",)), slot)

    def steps(self, stop: Any, step: int) -> Any:
        return cgutils.for_range_slice(self.builder, integer(0), stop, integer(step), _INT)


def integer(value: int) -> Any:
    """A constant."""
    return ir.Constant(_INT, value)


@intrinsic
def transpose(_: Any, source: Any, stride: Any, count: Any, factor: Any, target: Any, width: Any, d: Any) -> Any:
    """target[c, j] = factor source[j, c]; c < d, j < width; beyond the last of count, numbers are repeated."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        source, stride, count, factor, target, width, d = args
        code = _Vectors(builder, signature.args[3])
        every, last = code.spread(factor), builder.sub(count, integer(1))
        with code.steps(width, code.lanes) as (j, _):
            rows = []
            for lane in range(code.lanes):
                row = builder.add(j, integer(lane))
                rows.append(builder.mul(builder.select(builder.icmp_signed("<", row, last), row, last), stride))
            with code.steps(d, GROUP) as (c, _):
                joined = [code.load(code.at(source, row, c), code.group) for row in rows]
                while len(joined) > GROUP:
                    order = range(2 * joined[0].type.count)
                    joined = [code.shuffle(*two, order) for two in zip(joined[::2], joined[1::2], strict=True)]
                (even, odd), (even2, odd2) = code.separated(*joined[:2]), code.separated(*joined[2:])
                (c0, c2), (c1, c3) = code.separated(even, even2), code.separated(odd, odd2)
                for k, vector in enumerate((c0, c1, c2, c3)):
                    code.store(code.times(vector, every), code.at(target, (builder.add(c, integer(k)), width), j))
        return context.get_dummy_value()

    return types.void(source, stride, count, factor, target, width, d), generate


@intrinsic
def scores(_: Any, zero: Any, q: Any, k: Any, out: Any, highest: Any, width: Any, d: Any) -> Any:
    """out[r, j] = sum over c of q[r][c] k[c, j], and highest[r, j] at least that; zero says which kind of number."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _, q, k, out, highest, width, d = args
        code = _Vectors(builder, signature.args[0])
        rows = cgutils.unpack_tuple(builder, q)
        with code.steps(width, code.lanes) as (j, _):
            sums = code.accumulators(ROWS)
            with code.steps(d, GROUP) as (start, _):
                for part in range(GROUP):
                    c = builder.add(start, integer(part))
                    key = code.load(code.at(k, (c, width), j))
                    for r in range(ROWS):
                        code.accumulate(
                            sums[r], code.times(code.spread(code.load(code.at(rows[r], c), code.scalar)), key)
                        )
            for r in range(ROWS):
                place = ((integer(r), width), j)
                value, limit = builder.load(sums[r]), code.load(code.at(highest, *place))
                code.store(value, code.at(out, *place))
                higher = builder.fcmp_unordered(">", value, limit)  # a NaN stays one
                code.store(builder.select(higher, value, limit), code.at(highest, *place))
        return context.get_dummy_value()

    return types.void(zero, q, k, out, highest, width, d), generate


@intrinsic
def values(
    _: Any, zero: Any, v: Any, stride: Any, weights: Any, w: Any, norm: Any, out: Any, n: Any, width: Any, d: Any
) -> Any:
    """out[r, j, c] = norm[r, j] times the sum over l of v[r][l, c] weights[l, r, j] w[l, c, j]; v's stride is given."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _, v, stride, weights, w, norm, out, n, width, d = args
        code = _Vectors(builder, signature.args[0])
        rows = cgutils.unpack_tuple(builder, v)
        with code.steps(width, code.lanes) as (j, _), code.steps(d, GROUP) as (start, _):
            sums = code.accumulators(ROWS * GROUP)
            for first in range(0, GROUP, _PARTS):
                with code.steps(n, 1) as (l, _):  # noqa: E741
                    lines = [builder.add(builder.mul(l, integer(ROWS)), integer(r)) for r in range(ROWS)]
                    given = [code.load(code.at(weights, (line, width), j)) for line in lines]
                    for part in range(first, first + _PARTS):
                        c = builder.add(start, integer(part))
                        other = code.load(code.at(w, (builder.add(builder.mul(l, d), c), width), j))
                        for r in range(ROWS):
                            factor = code.spread(code.load(code.at(rows[r], (l, stride), c), code.scalar))
                            code.accumulate(sums[r * GROUP + part], code.times(factor, code.times(given[r], other)))
            for r in range(ROWS):
                scale = code.load(code.at(norm, (integer(r), width), j))
                x0, x1, x2, x3 = (code.times(builder.load(s), scale) for s in sums[r * GROUP : (r + 1) * GROUP])
                for lane, group in enumerate(code.by_lane(x0, x1, x2, x3)):
                    line = builder.add(builder.mul(integer(r), width), builder.add(j, integer(lane)))
                    code.store(group, code.at(out, (line, d), start))
        return context.get_dummy_value()

    return types.void(zero, v, stride, weights, w, norm, out, n, width, d), generate


@intrinsic
def transpose_back(_: Any, zero: Any, source: Any, target: Any, width: Any, d: Any) -> Any:
    """target[j, c] = source[c, j]; c < d, j < width; zero says which kind of number."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _, source, target, width, d = args
        code = _Vectors(builder, signature.args[0])
        with code.steps(width, code.lanes) as (j, _), code.steps(d, GROUP) as (c, _):
            four = [code.load(code.at(source, (builder.add(c, integer(k)), width), j)) for k in range(GROUP)]
            for lane, group in enumerate(code.by_lane(*four)):
                code.store(group, code.at(target, (builder.add(j, integer(lane)), d), c))
        return context.get_dummy_value()

    return types.void(zero, source, target, width, d), generate


@intrinsic
def products(_: Any, zero: Any, v: Any, g: Any, w: Any, out: Any, width: Any, d: Any) -> Any:
    """out[r, j] = sum over c of v[r][c] g[r, c, j] w[c, j]; zero says which kind of number."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _, v, g, w, out, width, d = args
        code = _Vectors(builder, signature.args[0])
        rows = cgutils.unpack_tuple(builder, v)
        with code.steps(width, code.lanes) as (j, _):
            sums = code.accumulators(ROWS)
            with code.steps(d, GROUP) as (start, _):
                for part in range(GROUP):
                    c = builder.add(start, integer(part))
                    other = code.load(code.at(w, (c, width), j))
                    for r in range(ROWS):
                        line = builder.add(builder.mul(integer(r), d), c)
                        factor = code.spread(code.load(code.at(rows[r], c), code.scalar))
                        given = code.times(code.load(code.at(g, (line, width), j)), other)
                        code.accumulate(sums[r], code.times(factor, given))
            for r in range(ROWS):
                code.store(builder.load(sums[r]), code.at(out, (integer(r), width), j))
        return context.get_dummy_value()

    return types.void(zero, v, g, w, out, width, d), generate


@intrinsic
def add_products(
    _: Any, zero: Any, q: Any, v: Any, slopes: Any, weights: Any, g: Any, dk: Any, dw: Any, width: Any, d: Any
) -> Any:
    """Sums over r: dk[c, j] += slopes[r, j] q[r][c] and dw[c, j] += weights[r, j] v[r][c] g[r, c, j]."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _, q, v, slopes, weights, g, dk, dw, width, d = args
        code = _Vectors(builder, signature.args[0])
        q_rows, v_rows = cgutils.unpack_tuple(builder, q), cgutils.unpack_tuple(builder, v)
        with code.steps(width, code.lanes) as (j, _):
            slope = [code.load(code.at(slopes, (integer(r), width), j)) for r in range(ROWS)]
            weight = [code.load(code.at(weights, (integer(r), width), j)) for r in range(ROWS)]
            with code.steps(d, GROUP) as (start, _):
                for part in range(GROUP):
                    c = builder.add(start, integer(part))
                    to_k, to_w = (code.at(sums, (c, width), j) for sums in (dk, dw))
                    k_sum, w_sum = code.load(to_k), code.load(to_w)
                    for r in range(ROWS):
                        line = builder.add(builder.mul(integer(r), d), c)
                        q_rc, v_rc = (code.spread(code.load(code.at(x[r], c), code.scalar)) for x in (q_rows, v_rows))
                        given = code.times(weight[r], code.load(code.at(g, (line, width), j)))
                        k_sum = builder.fadd(k_sum, code.times(q_rc, slope[r]), flags=("contract",))
                        w_sum = builder.fadd(w_sum, code.times(v_rc, given), flags=("contract",))
                    code.store(k_sum, to_k)
                    code.store(w_sum, to_w)
        return context.get_dummy_value()

    return types.void(zero, q, v, slopes, weights, g, dk, dw, width, d), generate


@intrinsic
def prefetch(_: Any, address: Any) -> Any:
    """Ask for a line of memory to be brought into the second-level cache."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = builder.inttoptr(args[0], ir.IntType(8).as_pointer())
        kind = ir.FunctionType(ir.VoidType(), [pointer.type, _INT32, _INT32, _INT32])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
        read, second_level, data = (ir.Constant(_INT32, flag) for flag in (0, 2, 1))
        builder.call(function, [pointer, read, second_level, data])
        return context.get_dummy_value()

    return types.void(address), generate
