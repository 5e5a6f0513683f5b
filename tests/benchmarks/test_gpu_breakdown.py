"""Which group a kernel is counted to, and how its time is."""

from typing import Any

import pytest

from inarch_benchmarks.gpu.breakdown import GROUPS, group_of, summary

NAMED = {"rank": 16, "vocabulary": 128256}


@pytest.mark.parametrize(
    ("kernel", "operation", "sizes", "group"),
    [
        ("nvjet_tst_128x256_64x4_1x2_h_bz_coopA_TNT", "aten::mm", {8192, 4096, 14336}, "GEMM"),
        ("nvjet_tst_64x8_64x16_4x1_v_bz_splitK_TNT", "aten::mm", {8192, 4096, 16}, "adapter"),
        ("nvjet_tst_128x256_64x4_2x1_v_bz_coopB_TNN", "aten::mm", {8192, 4096, 128256}, "GEMM"),
        ("void cunn_SoftMaxForward<8, float>", "aten::_log_softmax", {8192, 128256}, "loss"),
        ("liger_cross_entropy_kernel", "LigerCrossEntropy", set(), "loss"),
        ("dequantise_4bit_kernel", "inarch::dequantise_4bit_into", {8388608, 1}, "dequantise"),
        ("void kDequantizeBlockwise<__nv_bfloat16, 512, 64, 8, 2>", "bitsandbytes::dequantize_4bit", set(), "dequantise"),
        ("void flash::flash_fwd_kernel<Flash_fwd_kernel_traits>", "aten::_flash_attention_forward", {4, 32}, "attention"),
        ("cudnn_generated_fort_native_sdpa_sm90_flash_bprop_wgmma", "aten::_cudnn_attention_backward", {4}, "attention"),
        ("void at::native::vectorized_elementwise_kernel<8, silu>", "aten::silu", {4, 2048, 14336}, "elementwise"),
        ("void at::native::multi_tensor_apply_kernel<FusedAdam>", "aten::_fused_adamw_", {16, 4096}, "optimizer"),
        ("_lora_dequant", "", set(), "dequantise"),
    ],
)  # fmt: skip
def test_a_kernel_is_counted_to_one_group(kernel: str, operation: str, sizes: set[int], group: str) -> None:
    assert group_of(kernel, operation, frozenset(sizes), NAMED) == group
    assert group in GROUPS


def event(cat: str, name: str, ts: float, dur: float, number: int = 0, dims: Any = None) -> dict[str, Any]:
    args = {"External id": number} | ({"Input Dims": dims} if dims is not None else {})
    return {"ph": "X", "cat": cat, "name": name, "ts": ts, "dur": dur, "tid": 1, "args": args}


STEP = event("user_annotation", "inarch step", 0, 1000)


def test_kernels_are_known_by_the_operation_that_launched_them_and_gaps_are_what_none_covers() -> None:
    found = summary(
        [
            STEP,
            event("cpu_op", "aten::mm", 1, 5, 7, [[8192, 4096], [4096, 16]]),
            event("cpu_op", "aten::_fused_adamw_", 8, 5, 8, [[[16, 4096], [14336, 16]], []]),
            event("kernel", "nvjet", 100, 200, 7),
            event("kernel", "nvjet", 250, 100, 99),  # on another stream: fifty of it at the same time
            event("kernel", "adam", 500, 300, 8),
            {"ph": "M", "name": "process_name", "args": {}},
        ],
        NAMED,
    )
    spent = found["milliseconds"]
    assert spent["adapter"] == pytest.approx(0.2)
    assert spent["GEMM"] == pytest.approx(0.1)
    assert spent["optimizer"] == pytest.approx(0.3)
    assert spent["gaps"] == pytest.approx(1.0 - 0.25 - 0.3)
    assert found["of"] == "kernels"
    assert found["longest"][0]["group"] == "optimizer"


def test_without_kernels_operations_count_without_those_within_them() -> None:
    found = summary(
        [
            STEP,
            event("cpu_op", "aten::linear", 100, 300, 1, [[8, 4], [4, 4]]),
            event("cpu_op", "aten::mm", 150, 100, 2, [[8, 4], [4, 16]]),
            event("cpu_op", "aten::mul", 500, 100, 3, [[8, 4]]),
        ],
        NAMED,
    )
    assert found["of"] == "operations"
    assert found["milliseconds"]["GEMM"] == pytest.approx(0.2)
    assert found["milliseconds"]["adapter"] == pytest.approx(0.1)
    assert found["milliseconds"]["elementwise"] == pytest.approx(0.1)
    assert found["milliseconds"]["gaps"] == pytest.approx(0.6)
