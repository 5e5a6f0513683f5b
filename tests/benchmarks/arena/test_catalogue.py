from inarch_benchmarks.arena.catalogue import TASKS, entries


def test_every_class_of_the_mappings_is_there_once() -> None:
    import transformers.models.auto.modeling_auto as auto

    mapped = {
        names if isinstance(names, str) else names[0]
        for mapping in TASKS.values()
        for names in getattr(auto, mapping).values()
    }
    classes = [each.class_name for each in entries()]
    assert len(classes) == len(set(classes)) >= 400
    assert set(classes) == mapped
    assert len({each.key for each in entries()}) == len(classes)


def test_a_class_goes_by_the_type_it_is_named_after_and_by_its_most_particular_task() -> None:
    keys = {each.class_name: each.key for each in entries()}
    assert keys["LlamaForCausalLM"] == "causal-lm/llama"
    assert keys["BartForConditionalGeneration"] == "seq2seq-lm/bart"
    assert keys["Gemma3ForConditionalGeneration"] == "image-text-to-text/gemma3"
