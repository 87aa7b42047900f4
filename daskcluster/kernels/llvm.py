"""What `vectors` and `registers` write for LLVM with."""

# ruff: noqa: ANN001, ANN201 - llvmlite has no types

from llvmlite import ir

from daskcluster.sizing import LANES

INDEX = ir.IntType(32)


def array_of(context, builder, signature, arguments, i):
    """The i-th argument, an array."""
    return context.make_array(signature.args[i])(context, builder, arguments[i])


def named(builder, name, result, kinds):
    """One of LLVM's functions."""
    kind = ir.FunctionType(result, kinds)
    return builder.module.globals.get(name) or ir.Function(builder.module, kind, name)


def spread(builder, number):
    """A number in all lanes."""
    empty = ir.Constant(ir.VectorType(number.type, LANES), ir.Undefined)
    one = builder.insert_element(empty, number, ir.Constant(INDEX, 0))
    nowhere = ir.Constant(ir.VectorType(INDEX, LANES), [0] * LANES)
    return builder.shuffle_vector(one, empty, nowhere)
