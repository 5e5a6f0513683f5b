"""Sizes of memory, as a config says them."""

import os

import pytest
import torch

from inarch.engine.memory_size import MemorySize, device_memory, memory_size, readable
from inarch.errors import ConfigError
from inarch.training.config import parse_config

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("value", "size"),
    [
        ("24GB", 24 * 10**9),
        ("24GiB", 24 * 2**30),
        ("24 gb", 24 * 10**9),
        (" 1.5TB ", 1_500_000_000_000),
        ("0.5MiB", 2**19),
        ("7KB", 7000),
        ("100B", 100),
        ("4096", 4096),
        (4096, 4096),
    ],
)
def test_a_number_with_a_unit(value: int | str, size: int) -> None:
    assert memory_size(value).on(CPU) == size


def test_a_share_is_that_of_the_device() -> None:
    everything = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert memory_size("80%") == MemorySize(0.8, is_share=True)
    assert memory_size("80 %").on(CPU) == int(0.8 * everything)
    assert memory_size("100%").on(CPU) == device_memory(CPU) == everything


@pytest.mark.parametrize("value", ["", "much", "24GBs", "GB", "-3GB", "24GB 3", "1,5GB", -5, True, "1e9"])
def test_what_is_no_size_is_refused(value: int | str) -> None:
    with pytest.raises(ConfigError, match="24GB, 24GiB, 80%") as refused:
        memory_size(value)
    assert repr(value) in str(refused.value)


def test_the_units_are_told() -> None:
    with pytest.raises(ConfigError, match='"PB" is no unit; known: B, KB, MB, GB, TB, KiB, MiB, GiB, TiB'):
        memory_size("3PB")


@pytest.mark.parametrize("value", ["0%", "101%", "0GB", 0])
def test_nothing_and_more_than_all_are_refused(value: int | str) -> None:
    with pytest.raises(ConfigError, match="memory is"):
        memory_size(value)


@pytest.mark.parametrize(
    ("size", "text"), [(24 * 10**9, "24 GB"), (21_349_000_000, "21.3 GB"), (1500, "1.5 KB"), (12, "12 bytes")]
)
def test_a_size_is_said_in_decimal_units(size: int, text: str) -> None:
    assert readable(size) == text


def test_a_config_holds_one() -> None:
    given = {"model": "m", "data": {"train": "x.csv"}, "method": {"name": "lora"}, "output": "o"}
    assert parse_config(given).memory is None
    for value, text in (("24GB", "24GB"), (4096, "4096")):
        config = parse_config(given | {"memory": value})
        assert config.memory == text
        assert parse_config(config.to_dict()) == config
    with pytest.raises(ConfigError, match=r"^run.yaml: memory is '3PB': \"PB\" is no unit"):
        parse_config(given | {"memory": "3PB"}, source="run.yaml")
