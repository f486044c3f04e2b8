"""The Triton kernels compiled for two GPUs, without one: registers, shared memory, no spill. Slow:
`pytest -m slow tests/variants/ops/test_triton_compiled.py`; `-s` prints what each takes."""

import re
import subprocess
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import pytest
import torch

from variants.ops import triton_ctc, triton_recurrence, triton_runtime

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(triton_runtime.version() is None, reason="no Triton"),
]
MAX_SHARED_BYTES = {90: 227 * 1024, 80: 163 * 1024}
LARGEST_GRID = pytest.mark.parametrize("capability", [90, 80])
POINTERS = {
    "gates": "*p", "weight": "*p", "out_grads": "*p", "lens": "*i64", "num_rows": "i32", "T": "i32", "units": "i32", "clip": "fp32",
    "targets": "*i64", "target_lens": "*i64", "U": "i32", "V": "i32", "L": "i32",
}  # fmt: skip
"""Types of arguments; *p in the precision of products; all others point to float32."""
OPTIONS = ("num_warps", "maxnreg")


def resources(
    kernel: Any, constants: dict[str, Any], precision: str, capability: int
) -> dict[str, int]:
    """Registers, stack and local memory of a thread, and shared memory of a program, in bytes: of the program that a
    launch compiles, whose pointers, like torch's tensors, and width are multiples of 16 and so read by vectors."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    options = {name: constants[name] for name in OPTIONS if name in constants}
    constants = {name: value for name, value in constants.items() if name not in OPTIONS}
    signature = {
        name: "constexpr"
        if name in constants
        else POINTERS.get(name, "*fp32").replace("*p", f"*{precision}")
        for name in kernel.arg_names
    }
    places = {(kernel.arg_names.index(name),): value for name, value in constants.items()}
    multiples = {
        (place,): [["tt.divisibility", 16]]
        for place, name in enumerate(kernel.arg_names)
        if signature[name].startswith("*") or name == "units"
    }
    source = ASTSource(kernel, signature, constexprs=places, attrs=multiples)
    compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with NamedTemporaryFile(suffix=".cubin") as file:
        file.write(compiled.asm["cubin"])
        file.flush()
        shown = subprocess.run(
            [tool, "-res-usage", file.name], capture_output=True, text=True, check=True
        ).stdout
    found = {name: int(value) for name, value in re.findall(r"(REG|STACK|LOCAL):(\d+)", shown)}
    return found | {"shared": compiled.metadata.shared}


def check(found: dict[str, int], capability: int, name: str) -> None:
    print(name, f"sm_{capability}", found)
    assert found["STACK"] == found["LOCAL"] == 0, "registers are spilled to memory"
    assert found["REG"] * 8 * 32 <= 65_536, "a program has all registers of an SM at most"
    assert found["shared"] <= MAX_SHARED_BYTES[capability]


@LARGEST_GRID
@pytest.mark.parametrize("width", [128, 256, 512, 1024])
@pytest.mark.parametrize("mode", triton_recurrence.CELLS)
@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_recurrences(mode: str, width: int, direction: str, capability: int) -> None:
    from variants.ops import triton_recurrence_kernels as kernels

    for name, precision in (("bf16", torch.bfloat16), ("fp32", torch.float32)):
        constants = triton_recurrence.constants(mode, width, 2, precision)
        found = resources(getattr(kernels, direction), constants, name, capability)
        check(found, capability, f"{direction} {mode} {width} {name}")


@LARGEST_GRID
@pytest.mark.parametrize("num_labels", [30, 500])
def test_ctc(num_labels: int, capability: int) -> None:
    from variants.ops import triton_ctc_kernels as kernels

    num_states = triton_runtime.power_of_2(2 * num_labels + 1)
    constants = {"BLANK": 0, "S": num_states, "num_warps": triton_ctc.num_warps(num_states)}
    check(
        resources(kernels.sweep, constants, "fp32", capability), capability, f"sweep {num_labels}"
    )
    for part in (32, triton_ctc.SYMBOLS):  # of letters, of pieces
        constants |= {"CHUNK": triton_ctc.CHUNK, "VS": part, "num_warps": 2}
        found = resources(kernels.collect, constants, "fp32", capability)
        check(found, capability, f"collect {num_labels} {part}")
