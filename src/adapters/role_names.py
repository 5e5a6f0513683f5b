"""The table of names: what a linear map is called in published models, and what it does there.

A key is the ending of a module's dotted name without its numbers; the longest ending that stands here decides. Names
are compared whole, never in part.
"""

_BY_ROLE = {
    "attention.query": ["q_proj", "query", "q", "q_lin", "query_proj", "to_q", "q_a_proj", "q_b_proj", "wq"],
    "attention.key": ["k_proj", "key", "k", "k_lin", "key_proj", "to_k", "wk"],
    "attention.value": ["v_proj", "value", "v", "v_lin", "value_proj", "to_v", "wv"],
    "attention.output": [
        "o_proj",
        "out_lin",
        "o",
        "to_out",
        "self_attn.out_proj",
        "encoder_attn.out_proj",
        "cross_attn.out_proj",
        "attention.out_proj",
        "attn.out_proj",
        "attention.output.dense",
        "attention.dense",
        "self_attention.dense",
        "attn.c_proj",
        "attn.proj",
    ],
    "mlp.up": [
        "up_proj",
        "fc1",
        "lin1",
        "c_fc",
        "fc_in",
        "wi",
        "wi_1",
        "intermediate.dense",
        "dense_h_to_4h",
        "ffn",
        "w3",
        "gate_up_proj",
    ],
    "mlp.gate": ["gate_proj", "wi_0", "w1", "gate_up_proj"],
    "mlp.down": [
        "down_proj",
        "fc2",
        "lin2",
        "mlp.c_proj",
        "fc_out",
        "wo",
        "output.dense",
        "dense_4h_to_h",
        "ffn_output",
        "w2",
    ],
}

_FUSED = {
    # One projection for query, key and value: it has all three roles.
    ("attention.query", "attention.key", "attention.value"): [
        "c_attn",
        "query_key_value",
        "qkv_proj",
        "qkv",
        "Wqkv",
    ],
    ("attention.key", "attention.value"): ["kv_a_proj_with_mqa", "kv_b_proj", "kv_proj", "kv"],
}


def _table() -> dict[str, frozenset[str]]:
    table: dict[str, set[str]] = {}
    for role, names in _BY_ROLE.items():
        for name in names:
            table.setdefault(name, set()).add(role)
    for roles, names in _FUSED.items():
        for name in names:
            table.setdefault(name, set()).update(roles)
    return {name: frozenset(roles) for name, roles in table.items()}


ROLES_OF_NAME = _table()
