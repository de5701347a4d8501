"""A CUDA graph for a CPU: what tensors are told while Python runs once, told again without Python."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

READS = {"aten::_local_scalar_dense", "aten::is_nonzero", "aten::nonzero", "aten::equal", "aten::masked_select"}
READS |= {"aten::bincount", "aten::_unique2", "aten::unique_dim", "aten::repeat_interleave"}
INDEXED = {"aten::index", "aten::index_put", "aten::index_put_"}  # by a mask: its length is read back


class Waits:
    """Whether an operation of those that it is shown, in their order, waits for a GPU; a CUDA graph cannot hold it."""

    def __init__(self):
        self.numbers = []  # of the host

    def __call__(self, function, arguments):
        name = function._schema.name
        indices = [i for i in arguments[1] if i is not None] if name in INDEXED else []
        masked = any(i.dtype == torch.bool or any(i is number for number in self.numbers) for i in indices)
        # `x[i] = 1.0` copies the number there, where `x[i:] = 1.0` and `fill_` do not
        given = {"aten::copy_": 1, "aten::index_put_": 2}.get(name)
        copied = given is not None and any(arguments[given] is number for number in self.numbers)
        return name in READS or masked or copied

    def made(self, function, found):
        if function._schema.name == "aten::lift_fresh":
            self.numbers.append(found)


def is_view(function):
    return any(r.alias_info is not None and not r.alias_info.is_write for r in function._schema.returns)


class Replay(TorchDispatchMode):
    """As `rggan.training.capture.CudaGraph`: numbers of the host are frozen, tensors lie where they lay, random numbers
    are drawn anew. Recording does it too, as shapes come from it, so that the first replay is done already."""

    def __init__(self):
        super().__init__()
        self.told, self.done, self.replays, self.waits = [], False, 0, Waits()

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        options = options or {}
        if self.waits(function, arguments):
            raise RuntimeError("operation not permitted when stream is capturing")
        found = function(*arguments, **options)
        self.waits.made(function, found)
        if not is_view(function):
            given = {id(t) for t in tree_leaves((arguments, options)) if isinstance(t, torch.Tensor)}
            made = [isinstance(t, torch.Tensor) and id(t) not in given for t in tree_leaves(found)]
            self.told.append((function, arguments, options, tree_leaves(found), made))
        return found

    def record(self, part):
        with self:
            returned = part()
        self.done = True
        return returned

    @torch.no_grad()
    def replay(self):
        self.replays += 1
        if self.done:
            self.done = False
            return
        for function, arguments, options, found, made in self.told:
            again = tree_leaves(function(*arguments, **options))
            for place, new, own in zip(found, again, made, strict=True):
                if own:
                    place.copy_(new)
