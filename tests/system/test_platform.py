import pytest

import torch  # noqa: F401  # isort: skip
import openmm

from mdet_openmm.errors import InputError
from mdet_openmm.system import platform
from mdet_openmm.system.platform import available_platforms, choose_platform


def makes_a_context(choice) -> bool:
    system = openmm.System()
    system.addParticle(1.0)
    openmm.Context(system, openmm.VerletIntegrator(0.001), choice.platform, choice.properties)
    return True


def test_the_default_is_cuda_in_double_or_reference_and_never_cpu():
    choice = choose_platform()
    assert choice.name in ("CUDA", "Reference")
    assert choice.properties == ({"Precision": "double"} if choice.name == "CUDA" else {})
    assert choice.name in choice.reason
    assert makes_a_context(choice)
    assert choose_platform("auto", "mixed").properties == choice.properties  # OpenMM's own precision stays double


def test_a_cuda_platform_without_a_context_is_not_chosen(monkeypatch):
    monkeypatch.setattr(platform, "available_platforms", lambda: ["Reference", "CUDA"])
    real = openmm.Platform.getPlatformByName
    monkeypatch.setattr(
        openmm.Platform, "getPlatformByName", staticmethod(lambda n: real("Reference" if n == "CUDA" else n))
    )
    monkeypatch.setattr(platform, "_problem", lambda choice: "no device")
    choice = choose_platform()
    assert choice.name == "Reference"
    assert "no CUDA context can be made (no device)" in choice.reason


def test_a_platform_by_name_in_any_case():
    assert choose_platform("reference").name == "Reference"
    assert choose_platform("CPU").name == "CPU"
    assert choose_platform("reference").device == "cpu"
    assert "as asked for" in choose_platform("Reference").reason
    assert "fp32" in choose_platform("Reference", "mixed").reason


@pytest.mark.parametrize("name", ["Quantum", "", "cuda:0"])
def test_an_unknown_platform_is_refused_with_the_list(name):
    with pytest.raises(InputError, match=r"choose from .*Reference"):
        choose_platform(name)


@pytest.mark.skipif("CUDA" in available_platforms(), reason="OpenMM has a CUDA platform here")
def test_cuda_where_there_is_none_is_refused():
    with pytest.raises(InputError, match="CUDA is not available here"):
        choose_platform("CUDA")


def test_a_precision_that_there_is_not_is_refused():
    with pytest.raises(InputError, match="precision must be one of double, mixed, fp32, not 'fp16'"):
        choose_platform("Reference", "fp16")
