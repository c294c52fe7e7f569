"""tritonclient's calls about the server and its models."""

from checks import check, equal, refused


def check_all(api):
    check_server(api)
    check_metadata(api)
    check_statistics(api)
    check_repository(api)
    check_settings(api)


def check_server(api):
    with check("ServerLive"):
        equal(api.is_server_live(), True)
    with check("ServerReady"):
        equal(api.is_server_ready(), True)
    with check("ModelReady"):
        equal(api.is_model_ready("fruit"), True)
    with check("ModelReady", "a version"):
        equal(api.is_model_ready("fruit", "1"), True)
        equal(api.is_model_ready("fruit", "9"), False)
    with check("ModelReady", "an unknown model"):
        equal(api.is_model_ready("nothing"), False)
    with check("ServerMetadata"):
        metadata = api.json("get_server_metadata")
        equal(metadata["name"], "headgate")
        assert metadata["version"], metadata
        assert {"statistics", "model_configuration", "binary_tensor_data"} <= set(metadata["extensions"]), metadata


def check_metadata(api):
    with check("ModelMetadata"):
        metadata = api.json("get_model_metadata", "sums")
        equal((metadata["name"], metadata["versions"]), ("sums", ["1"]))
        equal(_tensors(metadata["inputs"]), {"a": ("FP32", [-1, 2]), "b": ("INT32", [-1, 1])})
        equal(_tensors(metadata["outputs"]), {"joined": ("FP32", [-1, 3]), "total": ("FP32", [-1, 1])})
    with check("ModelMetadata", "several versions"):
        equal(sorted(api.json("get_model_metadata", "fruit")["versions"]), ["1", "2"])
        api.json("get_model_metadata", "fruit", "1")
    with check("ModelMetadata", "text and free sizes"):
        metadata = api.json("get_model_metadata", "identity_BYTES")
        equal(_tensors(metadata["inputs"]), {"x": ("BYTES", [-1, -1])})
    with check("ModelMetadata", "an unknown model"), refused("nothing"):
        api.json("get_model_metadata", "nothing")
    with check("ModelConfig"):
        config = _config(api, "sums")
        equal((config["name"], config["backend"]), ("sums", "onnxruntime"))
        assert int(config["max_batch_size"]) > 1, config
        equal({tensor["name"]: (tensor["data_type"], _numbers(tensor["dims"])) for tensor in config["input"]},
              {"a": ("TYPE_FP32", [2]), "b": ("TYPE_INT32", [1])})  # fmt: skip
        assert "dynamic_batching" in config, config
    with check("ModelConfig", "text and free sizes"):
        [tensor] = _config(api, "identity_BYTES")["output"]
        equal((tensor["data_type"], _numbers(tensor["dims"])), ("TYPE_STRING", [-1]))


def check_statistics(api):
    case = api.plan.cases["two inputs, two outputs"]
    with check("ModelStatistics"):
        before = _statistics(api, "sums")
        for _ in range(3):
            api.infer_case(case)
        after = _statistics(api, "sums")
        equal(int(after["inference_count"]) - int(before.get("inference_count", 0)), 3 * case.rows, "rows")
        equal(int(after["execution_count"]) - int(before.get("execution_count", 0)), 3, "executions")
        for name in ("success", "queue", "compute_input", "compute_infer", "compute_output"):
            count, ns = _duration(after, name)
            count_before, ns_before = _duration(before, name)
            equal(count - count_before, 3, name)
            assert ns > ns_before or name == "queue", f"{name}: {ns_before} ns, then {ns}"
    with check("ModelStatistics", "all models"):
        rows = api.json("get_inference_statistics")["model_stats"]
        assert {("fruit", "1"), ("fruit", "2"), ("sums", "1")} <= {(row["name"], row["version"]) for row in rows}, rows


def check_repository(api):
    case = api.plan.cases["spare"]
    with check("RepositoryIndex"):
        index = _index(api)
        equal({version: index["fruit", version] for version in "12"}, {"1": "READY", "2": "READY"})
    with check("RepositoryModelUnload"):
        api.unload_model("spare")
        equal(api.is_model_ready("spare"), False)
        assert "READY" not in [state for (name, _), state in _index(api).items() if name == "spare"], _index(api)
        with refused("spare"):
            api.infer_case(case)
    with check("RepositoryModelLoad"):
        api.load_model("spare")
        equal(api.is_model_ready("spare"), True)
        equal(_index(api)["spare", "1"], "READY")
        api.assert_answers(api.infer_case(case), case)
    with check("RepositoryModelLoad", "a model that is loaded"):
        api.load_model("spare")
        api.assert_answers(api.infer_case(case), case)
    with check("RepositoryModelLoad", "an unknown model"), refused("nothing"):
        api.load_model("nothing")
    with check("RepositoryModelLoad", "with a configuration"):
        api.load_model("spare", config='{"max_batch_size": 8}')
    with check("RepositoryModelUnload", "with what depends on it"):
        api.unload_model("spare", unload_dependents=True)
        equal(api.is_model_ready("spare"), False)
        api.load_model("spare")


def check_settings(api):
    with check("TraceSetting"):
        settings = _settings(api.json("get_trace_settings"))
        assert "trace_level" in settings, settings
    with check("TraceSetting", "of a model"):
        assert "trace_level" in _settings(api.json("get_trace_settings", "fruit"))
    with check("TraceSetting", "changed"):
        rate = _settings(api.json("update_trace_settings", settings={"trace_rate": "500"}))["trace_rate"]
        equal(rate if isinstance(rate, str) else rate["value"], "500" if isinstance(rate, str) else ["500"])
        api.json("update_trace_settings", settings={"trace_rate": None})
    with check("LogSettings"):
        assert "log_verbose_level" in _settings(api.json("get_log_settings"))
    with check("LogSettings", "changed"):
        level = _settings(api.json("update_log_settings", {"log_verbose_level": 1}))["log_verbose_level"]
        equal(level["uint32_param"] if isinstance(level, dict) else level, 1)
        api.json("update_log_settings", {"log_verbose_level": 0})


def _tensors(tensors):
    return {tensor["name"]: (tensor["datatype"], _numbers(tensor["shape"])) for tensor in tensors}


def _numbers(values):
    # JSON made of messages holds 64-bit integers as text.
    return [int(value) for value in values]


def _config(api, model):
    config = api.json("get_model_config", model)
    return config if api.is_http else config["config"]


def _statistics(api, model):
    [statistics] = api.json("get_inference_statistics", model)["model_stats"]
    return statistics


def _duration(statistics, name):
    duration = statistics.get("inference_stats", {}).get(name, {})
    return int(duration.get("count", 0)), int(duration.get("ns", 0))


def _index(api):
    index = api.json("get_model_repository_index")
    rows = index if api.is_http else index["models"]
    return {(row["name"], row.get("version", "")): row.get("state", "") for row in rows}


def _settings(answer):
    return answer.get("settings", answer)
