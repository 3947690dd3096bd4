"""Code of TorchScript files: networks pass, and whatever reaches outside them is named."""

from __future__ import annotations

import re
import zipfile
from typing import List, NamedTuple, Optional, Tuple  # noqa: UP035 of TorchScript's own grammar

import pytest
import torch
from monai.networks import nets
from support.hostile_bundles import Writer

from multijoint.sharing.inspection.script_checks import check_script
from multijoint.sharing.inspection.script_names import ASKED, OPERATORS, PRIMITIVES
from multijoint.sharing.inspection.weight_checks import check_torchscript


def save(script: torch.jit.ScriptModule, path) -> None:
    torch.jit.save(script, str(path))


def faults(script: torch.jit.ScriptModule, folder) -> list[str]:
    save(script, folder / "network.ts")
    return [
        each.message for each in check_torchscript(folder / "network.ts", name="network.ts") if each.level != "note"
    ]


def of_code(body: str, *, before: str = "") -> list[str]:
    """Faults of a function with this body."""
    lines = "".join(f"  {line}\n" for line in body.splitlines())
    code = f"{before}def f(x: Tensor, y: int) -> Tensor:\n{lines}  return x\n"
    return [fault for _, fault in check_script({"code/__torch__.py": code.encode()})]


@pytest.mark.parametrize(
    ("make", "how"),
    [
        (lambda: nets.UNet(2, 1, 2, (4, 8, 16), (2, 2), num_res_units=2, dropout=0.1), "script"),
        (lambda: nets.SegResNet(2, 8, 1, 2, blocks_down=(1, 1), blocks_up=(1,), dropout_prob=0.1), "script"),
        (lambda: nets.VNet(2, 1, 2), "script"),
        (lambda: nets.BasicUNet(2, 1, 2, (4, 4, 8, 8, 8, 4), upsample="nontrainable"), "trace"),
        (lambda: nets.DynUNet(2, 1, 2, [3, 3, 3], [1, 2, 2], [2, 2]), "trace"),
    ],
    ids=["UNet", "SegResNet", "VNet", "BasicUNet", "DynUNet"],
)
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore::DeprecationWarning")
def test_networks_of_monai_pass(tmp_path, make, how):
    network = make().eval()
    image = torch.zeros(1, 1, 32, 32)
    script = torch.jit.script(network) if how == "script" else torch.jit.trace(network, image, check_trace=False)
    assert faults(script, tmp_path) == []


class Scores(NamedTuple):
    mean: torch.Tensor
    names: List[str]  # noqa: UP006


class Rich(torch.nn.Module):
    """Whatever TorchScript knows: constants, dictionaries, texts, loops, methods, hooks, attention, gates."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.ModuleList([torch.nn.Linear(4, 4), torch.nn.ReLU()])
        self.memory = torch.nn.GRU(4, 4)
        self.attend = torch.nn.MultiheadAttention(4, 2)
        self.names = ["a", "b"]
        self.sizes = {"a": 2}
        self.size = torch.jit.Attribute(None, Optional[int])  # noqa: UP045
        self.place = torch.device("cpu")
        self.register_buffer("ramp", torch.arange(4.0))

    @torch.jit.export
    def score(self, x: torch.Tensor) -> Scores:
        return Scores(x.mean(), [name.upper() for name in self.names])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Some of everything."""
        for layer in self.layers:
            x = layer(x)
        with torch.no_grad():
            x, _ = self.memory(x)
        x = self.attend(x, x, x)[0]
        if self.size is not None and x.shape[0] > 3:
            raise ValueError(f"too many: {x.shape[0]}")
        count = 0
        while count < 2 and x.sum() > 0:
            count += self.sizes["a"]
        weights = torch.einsum("abc,c->abc", x, self.ramp.to(self.place, x.dtype))
        return weights.clone()[:, ::2].masked_fill(weights[:, ::2] > 3, 0.0) + float("inf") * 0 + count


def test_the_language_of_scripts_passes(tmp_path):
    def hook(module: torch.nn.Module, inputs: Tuple[torch.Tensor], output: torch.Tensor) -> torch.Tensor:  # noqa: UP006
        return output + 1

    network = Rich()
    network.layers[0].register_forward_hook(hook)
    assert faults(torch.jit.script(network), tmp_path) == []


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ('torch.save(x, "canary")', "torch.save"),
        ('ops.aten.save(x, "canary")', "ops.aten.save"),
        ('x.save("canary")', "save"),
        ('f = torch.save\nf(x, "canary")', "torch.save"),
        ('getattr(x, "save")("canary")', "save"),
        ('getattr(torch, "save")(x, "canary")', "torch.save"),
        ('[torch.save][0](x, "canary")', "torch.save"),
        ('y = torch.load("canary")', "torch.load"),
        ('torch.from_file("canary", True, 10)', "torch.from_file"),
        ('(x if y else x).save("canary")', "save"),
        ('t = torch\nt.save(x, "canary")', "names torch"),
        ('o = ops\no.aten.save(x, "canary")', "names ops"),
        ('g = getattr\ng(x, "save")("canary")', "getattr"),
        ('x = torch._C.save("canary")', "torch._C.save"),
        ("torch.jit.load(x)", "torch.jit.load"),
        ("ops.mylib.run(x)", "ops.mylib.run"),
        ('ops.prim.PythonOp("os.system")', "ops.prim.PythonOp"),
        ("ops.c10d.allreduce_(x)", "ops.c10d.allreduce_"),
        ('ops.profiler._record_function_enter_new("a")', "ops.profiler"),
        ("torch.manual_seed(0)", "torch.manual_seed"),
        ("torch.set_num_threads(999)", "torch.set_num_threads"),
        ("fork(f, x)", "names fork"),
        ('print("text")', "names print"),
        ('print = 1\nprint("text")', "names print"),
        ('open("canary")', "names open"),
        ("ops.prim.fork(x)", "ops.prim.fork"),
        ("a = annotate(__torch__.torch.classes.dist_c10d.Store, x)", "__torch__.torch.classes.dist_c10d.Store"),
        ("__torch__.torch.classes.profiling.SourceStats.__new__(x)", "an object of PyTorch's C\\+\\+"),
        ("__torch__.other.run(x)", "__torch__.other.run"),
        ("lambda z: z", "has Lambda"),
        ("import os", "has Import"),
        ("x = await x", "has Await"),
        ('exec("import os")', "names exec"),
        ("# type: (Tensor) -> __torch__.torch.classes.a.B", "is not code"),
        ("'''a''' + x", "is not code"),
        ('f"{x.save}"', "has JoinedStr"),
        ("a = torch.zeros([185364, 185365])", "size bomb"),
        ("a = torch.zeros([34359738368])", "size bomb"),
        ("a = torch.arange(137438953472)", "size bomb"),
        ("(" * 300 + ")" * 300, "is not code"),
        ("x" + ".t" * 50_000, "is not code|names"),
        ("-" * 50_000 + "x", "is not code"),
    ],
)
def test_what_reaches_outside_is_named(body, named):
    found = of_code(body)
    assert any(re.search(named, fault) for fault in found), found


def test_a_method_of_its_own_does_not_lend_its_name_to_an_operator():
    own = "class N(Module):\n  def save(self: __torch__.N, x: str) -> str:\n    return x\n"
    assert any("save" in fault for fault in of_code('x.save("canary")', before=own))
    harmless = own.replace("save", "keep")
    assert of_code("y = 1", before=harmless) == []
    assert of_code('x.keep("canary")', before=harmless) == []


def test_the_payload_is_real(tmp_path):
    """A script that calls `torch.save` writes when it is run, and is named before."""
    script = torch.jit.script(Writer(str(tmp_path / "canary")))
    [fault] = faults(script, tmp_path)
    assert "names torch.save" in fault
    assert not (tmp_path / "canary").exists()
    torch.jit.load(str(tmp_path / "network.ts"))(torch.zeros(1))
    assert (tmp_path / "canary").exists()


def rewritten(path, change) -> None:
    """The file with a change to the content of its members."""
    with zipfile.ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in contents.items():
            archive.writestr(name, change(name, data))


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        (b"K\x08t", b"J\xff\xff\xff\x7ft", "size lie|size bomb|beyond"),
        (b"K\x08t", b"K\x09t", "size lie|beyond|size bomb"),
    ],
)
def test_sizes_inside_must_be_those_of_the_data(tmp_path, old, new, named):
    path = tmp_path / "network.ts"
    save(torch.jit.script(torch.nn.Linear(4, 2)), path)
    rewritten(path, lambda name, data: data.replace(old, new, 1) if name.endswith("/data.pkl") else data)
    found = [each.message for each in check_torchscript(path, name="network.ts")]
    assert any(re.search(named, each) for each in found), found


def test_each_name_on_the_list_is_an_operator_that_takes_no_file():
    asked = re.compile(
        "a|approximate|b|chars|driver|el|equation|idx|indexing|inputs?|interpolation|item|key|l|message|mode|new|norm|"
        "old|ord|padding|reduce|rounding_mode|s|self|separator|side|string|substr|t|to_add|type|values|dict"
    )
    for name in OPERATORS:
        schemas = torch._C._jit_get_schemas_for_operator(f"aten::{name}")
        assert schemas, name
        for schema in schemas:
            texts = [each.name for each in schema.arguments if "str" in str(each.type)]
            assert all(map(asked.fullmatch, texts)), schema
    for name in ("save", "load", "from_file", "manual_seed", "set_num_threads", "record_stream", "set_", "wait"):
        assert name not in OPERATORS | ASKED | PRIMITIVES


def test_only_code_of_one_reading_is_read():
    assert [*check_script({"code/__torch__.py": 'x = "\u00e4"'.encode()})]
    assert [*check_script({"code/__torch__.py": b"x = 1\r\nimport os"})]
    assert [*check_script({"code/__torch__.py": b'x = "\\"" "#"\n'})] == []
