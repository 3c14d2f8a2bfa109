"""Networks say the same on processors without wide registers as on this one, with one thread and with two."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OLDER = {"MKL_ENABLE_INSTRUCTIONS": "AVX2", "ONEDNN_MAX_CPU_ISA": "AVX2", "OPENBLAS_CORETYPE": "Haswell"}
PROCESSORS = {  # what PyTorch calls it, number of threads -> what makes a process compute like that
    ("DEFAULT", 1): {"ATEN_CPU_CAPABILITY": "default", "OMP_NUM_THREADS": "1"},
    ("AVX2", 2): {
        "ATEN_CPU_CAPABILITY": "avx2",
        "OMP_NUM_THREADS": "2",
        "OMP_WAIT_POLICY": "passive",
    }
    | OLDER,
}
ASKED = [  # of each network its values, its gradients, its independence of the batch, and what a fine-tuning learns
    "tests/verify/test_verify.py::test_golden_case_is_met",
    "tests/models/layers/test_favor.py::test_output_and_gradients_are_the_formulas",
    "tests/models/scbert/test_scbert.py::test_per_cell_does_not_depend_on_the_batch_and_the_published_stabiliser_does",
    "tests/models/scbert/test_scbert.py::test_the_path_in_blocks_is_the_path_with_a_gradient",
    "tests/models/scbert/test_scbert.py::test_short_cut_changes_nothing",
    "tests/models/scgpt/test_scgpt.py::test_encoder_equals_that_of_pytorch_on_padded_cells",
    "tests/models/scgpt/test_scgpt.py::test_a_cell_gives_the_same_alone_and_among_others_in_any_order",
    "tests/models/scgpt/test_scgpt.py::test_gradients_of_any_division_into_parts_are_those_of_the_batch",
    "tests/models/scgpt/test_scgpt.py::test_a_few_steps_learn_a_small_batch",
]
LEFT_OUT = "not lr_liblinear and not scbert_finetune"  # no network; 3 s, and scGPT's fine-tuning is asked for
CHILD = """
import sys, pytest, torch
print(torch.backends.cpu.get_cpu_capability(), torch.get_num_threads())
sys.exit(pytest.main(sys.argv[1:]))
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="names kernels of x86 processors")
@pytest.mark.parametrize(("capability", "threads"), PROCESSORS)
def test_networks_keep_their_numbers_with_other_kernels_and_threads(capability, threads, tmp_path):
    """What a process computes with is chosen when it starts, so one child is asked everything."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment |= PROCESSORS[capability, threads] | {"MKL_NUM_THREADS": str(threads)}
    options = [
        "-q",
        "--tb=short",
        "-p",
        "no:cacheprovider",
        "-o",
        "addopts=",
        "-k",
        LEFT_OUT,
        f"--basetemp={tmp_path / 'child'}",
    ]
    command = [sys.executable, "-c", CHILD, *options, *ASKED]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.stdout.startswith(f"{capability} {threads}\n"), done.stdout + done.stderr
    assert done.returncode == 0, done.stdout
