"""A CUDA graph for a CPU: what tensors are told while Python runs once, told again without Python."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def is_view(function):
    return any(r.alias_info is not None and not r.alias_info.is_write for r in function._schema.returns)


class Replay(TorchDispatchMode):
    """As `rggan.training.capture.CudaGraph`: numbers of the host are frozen, tensors lie where they lay, random numbers
    are drawn anew. Recording does it too, as shapes come from it, so that the first replay is done already."""

    def __init__(self):
        super().__init__()
        self.told, self.done, self.replays = [], False, 0

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        options = options or {}
        if function._schema.name in ("aten::_local_scalar_dense", "aten::nonzero", "aten::is_nonzero", "aten::equal"):
            raise RuntimeError("operation not permitted when stream is capturing")
        found = function(*arguments, **options)
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
