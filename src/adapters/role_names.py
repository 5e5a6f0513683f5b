"""The table of names: what a map is called in published models, and what it does there.

A key is the ending of a module's dotted name without its numbers; the longest ending that stands here decides. Names
are compared whole, never in part. ``x.linear`` counts as ``x``: such a module only wraps the map.

    attention.query .key .value .output    the projections of attention
    mlp.up .gate .down                     the maps of the feed-forward block
    sublayer.input .output                 the first and the last maps of a sublayer of any kind, of those above too
"""

import re
from functools import cache
from itertools import product

LONGEST = 3
"""Number of words in the longest ending of the table."""

_ATTENTION = """
    attention attn self_attn self_attention self_att cross_attn cross_attention crossattention encoder_attn
    encoder_attn_text multi_head_attention multihead_attn text_cross_attn x_attn window_attn channel_attn message_attn
    temporal_attention final_attn_token_to_image cross_attn_token_to_image cross_attn_image_to_token self_attn_layer
    attn_1 temporal_attn lang_self_att visn_self_att visual_attention SelfAttention EncDecAttention seq_attention att
"""
"""What modules of attention are called; a list of endings within them is crossed with these names."""

_MLP = """
    mlp ffn ff feed_forward feed_forward1 feed_forward2 ffn1 ffn2 intermediate_ffn shared_mlp
"""

_MIXER = "mixer mamba conv linear_attn mlstm_layer temporal_block modulation"


def _within(modules: str, endings: str) -> str:
    return " ".join(f"{module}.{ending}" for module, ending in product(modules.split(), endings.split()))


_BY_ROLE = {
    "attention.query": """
        q_proj query q q_lin query_proj to_q to_query wq Wq q_a_proj q_b_proj q_gate_proj q_head linear_q project_q
        projection_query q_attn queries query_global q_content_proj layout_query e2e_query e2w_query w2e_query
        self_attn_query_content_proj cross_attn_query_content_proj self_attention.experts.input_linear
    """,
    "attention.key": """
        k_proj key k k_lin key_proj to_k to_key wk Wk k_head linear_k project_k projection_key key_global
        k_content_proj layout_key key_protein key_structure key_msa self_attn_key_content_proj
        cross_attn_key_content_proj
    """,
    "attention.value": """
        v_proj value v v_lin value_proj to_v to_value wv Wv v_head linear_v project_v projection_value value_global
        layout_value v_proj_current v_proj_delayed value_protein value_structure value_msa self_attn_value_proj
        cross_attn_value_proj values_vision_proj values_text_proj
    """,
    "attention.output": _within(
        _ATTENTION,
        "out_proj output_proj proj dense c_proj projection projection_layer proj_out linear_out linear_o output post "
        "final Wo output.dense",
    )
    + """
        o_proj out_lin o to_out o_b_proj att_proj attention_out post_proj out_vision_proj out_text_proj
        module.projection layers.projection self_attention.experts.output_linear post_attention.conv1d
    """,
    "mlp.up": _within(
        _MLP, "linear1 linear_1 linear_fc1 dense1 dense.dense layer_1 intermediate linear_in proj_in in_proj"
    )
    + """
        up_proj fc1 lin1 c_fc fc_in wi wi_1 w3 intermediate.dense intermediate_query.dense layout_intermediate.dense
        intermediate_dense dense_h_to_4h pwconv1 pointwise_conv1 proj_up ffw_layer_1 w_in.w_1 linear_up ffn
        feed_forward.key intermediate.conv1d
    """,
    "mlp.gate": "gate_proj wi_0 w1 proj_up_gate w_in.w_0 feed_forward.receptance",
    "mlp.down": _within(
        _MLP, "linear2 linear_2 linear_fc2 dense2 layer_2 output linear_out proj_out out_proj output_linear c_proj Wo"
    )
    + """
        down_proj fc2 lin2 fc_out wo w2 output.dense output_query.dense output_dense dense_4h_to_h ffn_output
        pwconv2 pointwise_conv2 proj_down ffw_layer_2 w_out linear_down feed_forward.value
        output.conv1d
    """,
    "sublayer.input": _within(_MIXER, "in_proj in_proj_qkv in_proj_z in_proj_qkvz in_proj_ba in_proj_a in_proj_b")
    + " projection_in linear_x linear_y attention.receptance linear_start pre_expert_proj fc1_latent_proj",
    "sublayer.output": _within(_MIXER, "out_proj linear_out")
    + " projection_out linear_end output.bottleneck.dense post_expert_proj fc2_latent_proj",
}

_FUSED = {
    # One projection for several has all their roles.
    ("attention.query", "attention.key", "attention.value"): """
        c_attn query_key_value qkv_proj qkv Wqkv qkv_linear queries_keys_values attention.self.in_proj
    """,
    ("attention.key", "attention.value"): "kv_a_proj_with_mqa kv_b_proj kv_proj kv to_kv keys_values linear_kv",
    ("attention.query", "attention.key"): "query_key",
    ("mlp.up", "mlp.gate"): _within(_MLP, "Wi input_linear") + " gate_up_proj",
}

_NONE = " ".join(
    [
        # Named like a projection, but a gate, or the choice of what to attend to or whom to ask.
        _within(_ATTENTION + "linear_attn", "gate_proj up_proj down_proj"),
        _within("indexer compressor scorer", "wq_b wk q_proj k_proj q_b_proj kv_proj gate_proj"),
        _within("router_mlp gate", "fc1 fc2 down_proj"),
        "bottleneck.attention.dense",
        # Attention among channels, whose keys are as long as the sequence.
        "channel_attn.qkv",
    ]
)

_LATER = frozenset({"q_b_proj", "q_gate_proj", "kv_b_proj"})
"""Projections that take what another one made of the sublayer's input."""

_FIRST = {"attention.query", "attention.key", "attention.value", "mlp.up", "mlp.gate"}
_LAST = {"attention.output", "mlp.down"}


def _table() -> dict[str, frozenset[str]]:
    table = {ending: frozenset({role}) for role, endings in _BY_ROLE.items() for ending in endings.split()}
    table |= {ending: frozenset(roles) for roles, endings in _FUSED.items() for ending in endings.split()}
    table = {ending: with_sublayer(roles, is_first=ending not in _LATER) for ending, roles in table.items()}
    return table | dict.fromkeys(_NONE.split(), frozenset())


def with_sublayer(roles: frozenset[str], *, is_first: bool = True) -> frozenset[str]:
    """The roles, and what they make of a map in its sublayer."""
    first = {"sublayer.input"} if is_first and roles & _FIRST else set()
    last = {"sublayer.output"} if roles & _LAST else set()
    return roles.union(first, last)


ROLES_OF_NAME = _table()


def roles_of_name(name: str) -> frozenset[str]:
    """The roles that the table gives a map of this dotted name."""
    return _roles_of_words(_NUMBER.sub("", name))


_NUMBER = re.compile(r"\.\d+(?=\.|$)")


@cache
def _roles_of_words(name: str) -> frozenset[str]:
    """The entry for a name without numbers, of which a model has few."""
    words = name.removesuffix(".linear").split(".")
    for length in range(min(LONGEST, len(words)), 0, -1):
        roles = ROLES_OF_NAME.get(".".join(words[-length:]))
        if roles is not None:
            return roles
    return frozenset()


def is_in_experts(name: str) -> bool:
    """Whether a map of this dotted name belongs to one of several experts."""
    return ".experts." in name
