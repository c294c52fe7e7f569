"""tritonclient's tensors in shared memory."""

import base64
import concurrent.futures
import contextlib

import numpy as np
import tritonclient.utils.shared_memory as memory
from checks import check, equal, refused
from triton_inference import expire_behind

CALL = "ModelInfer, shared memory"


def check_all(api):
    check_regions(api)
    check_inference(api)
    check_cuda(api)


def check_regions(api):
    with check("SystemSharedMemoryRegister"), _region(api, "registered", 64):
        equal(_status(api)["registered"], {"key": "/headgate_registered", "offset": 0, "byte_size": 64})
    with check("SystemSharedMemoryRegister", "a part"), _region(api, "part", 64, register=False):
        api.register_system_shared_memory("part", "/headgate_part", 32, offset=16)
        equal(_status(api)["part"], {"key": "/headgate_part", "offset": 16, "byte_size": 32})
    with check("SystemSharedMemoryRegister", "twice: an error"), _region(api, "twice", 64), refused("twice"):
        api.register_system_shared_memory("twice", "/headgate_twice", 64)
    with check("SystemSharedMemoryRegister", "no such memory: an error"), refused("headgate_nothing"):
        api.register_system_shared_memory("nothing", "/headgate_nothing", 64)
    with (
        check("SystemSharedMemoryRegister", "more than there is: an error"),
        _region(api, "more", 64, register=False),
        refused("more"),
    ):
        api.register_system_shared_memory("more", "/headgate_more", 1 << 20)
    with check("SystemSharedMemoryStatus"), _region(api, "one", 64), _region(api, "two", 64):
        equal(set(_status(api)), {"one", "two"})
        equal(set(_status(api, "one")), {"one"})
    with check("SystemSharedMemoryUnregister"), _region(api, "left", 64):
        api.unregister_system_shared_memory("left")
        equal(_status(api), {})
    with check("SystemSharedMemoryUnregister", "all"), _region(api, "one", 64), _region(api, "two", 64):
        api.unregister_system_shared_memory()
        equal(_status(api), {})


def check_inference(api):
    for name in ("two inputs, two outputs", "FP16", "BYTES", "more rows than a batch"):
        case = api.plan.cases[name]
        with check(CALL, f"inputs: {name}"), _inputs_in_memory(api, case) as inputs:
            api.assert_answers(api.infer(case.model, inputs), case)
    case = api.plan.cases["two inputs, two outputs"]
    with check(CALL, "outputs"), _region(api, "answers", 64) as region:
        outputs = api.outputs(case.outputs)
        for output, offset in zip(outputs, (0, 32), strict=True):
            output.set_shared_memory("answers", 32, offset)
        result = api.infer_case(case, outputs=outputs)
        equal(set(api.response(result)["outputs"]), set(case.outputs))
        for (name, tensor), offset in zip(case.outputs.items(), (0, 32), strict=True):
            described = api.response(result)["outputs"][name]
            equal((described["datatype"], [int(size) for size in described["shape"]]), (tensor.datatype, tensor.shape))
            tensor.assert_equal(memory.get_contents_as_numpy(region, tensor.array.dtype, tensor.shape, offset))
    with check(CALL, "one output, the other in the answer"), _region(api, "answers", 64) as region:
        joined, total = api.outputs(case.outputs)
        joined.set_shared_memory("answers", 64)
        result = api.infer_case(case, outputs=[joined, total])
        case.outputs["total"].assert_equal(result.as_numpy("total"))
        tensor = case.outputs["joined"]
        tensor.assert_equal(memory.get_contents_as_numpy(region, tensor.array.dtype, tensor.shape))
    with check(CALL, "one input, the other in the request"), _inputs_in_memory(api, case) as inputs:
        name, tensor = list(case.inputs.items())[1]
        api.assert_answers(api.infer(case.model, [inputs[0], api.input(name, tensor)]), case)
    with check(CALL, "text, both ways"), _region(api, "answers", 4096) as region:
        text = api.plan.cases["BYTES"]
        outputs = api.outputs(["y"])
        outputs[0].set_shared_memory("answers", 4096)
        with _inputs_in_memory(api, text) as inputs:
            api.infer(text.model, inputs, outputs=outputs)
        text.outputs["y"].assert_equal(memory.get_contents_as_numpy(region, np.object_, text.outputs["y"].shape))
    with check(CALL, "too little for the output: an error"), _region(api, "little", 8):
        outputs = api.outputs(["joined"])
        outputs[0].set_shared_memory("little", 8)
        with refused("joined"):
            api.infer_case(case, outputs=outputs)
    with check(CALL, "a region that is not registered: an error"):
        inputs = api.inputs(case)
        inputs[0].set_shared_memory("nowhere", 16)
        with refused("nowhere"):
            api.infer(case.model, inputs)
    with check("SystemSharedMemoryUnregister", "while a request uses it"), _region(api, "used", 16) as region:
        busy = api.plan.cases["busy"]
        (name, steps), [done] = next(iter(busy.inputs.items())), api.outputs(["done"])
        memory.set_shared_memory_region(region, [steps.array])
        infer_input = api.module.InferInput(name, steps.shape, steps.datatype)
        infer_input.set_shared_memory("used", 8)
        done.set_shared_memory("used", 8, 8)
        with concurrent.futures.ThreadPoolExecutor(1) as thread:
            running = thread.submit(api.infer_apart, busy, [infer_input], outputs=[done])
            expire_behind(api, running)
            api.unregister_system_shared_memory("used")
            running.result()
        steps.assert_equal(memory.get_contents_as_numpy(region, np.int64, steps.shape, 8))


def check_cuda(api):
    handle = base64.b64encode(bytes(64))
    with check("CudaSharedMemoryStatus"):
        api.get_cuda_shared_memory_status()
    with check("CudaSharedMemoryRegister"):
        api.register_cuda_shared_memory("device", handle, 0, 64)
    with check("CudaSharedMemoryUnregister"):
        api.unregister_cuda_shared_memory()


@contextlib.contextmanager
def _region(api, name, byte_size, register=True):
    region = memory.create_shared_memory_region(name, f"/headgate_{name}", byte_size)
    try:
        if register:
            api.register_system_shared_memory(name, f"/headgate_{name}", byte_size)
        yield region
    finally:
        with contextlib.suppress(Exception):
            api.unregister_system_shared_memory(name)
        memory.destroy_shared_memory_region(region)


@contextlib.contextmanager
def _inputs_in_memory(api, case):
    """All inputs of a case, one after the other in one region."""
    with _region(api, "inputs", sum(len(tensor.raw()) for tensor in case.inputs.values())) as region:
        inputs, offset = [], 0
        for name, tensor in case.inputs.items():
            raw = tensor.raw()
            memory.set_shared_memory_region(region, [np.frombuffer(raw, np.uint8)], offset)
            infer_input = api.module.InferInput(name, tensor.shape, tensor.datatype)
            infer_input.set_shared_memory("inputs", len(raw), offset)
            inputs.append(infer_input)
            offset += len(raw)
        yield inputs


def _status(api, name=""):
    answer = api.json("get_system_shared_memory_status", name)
    regions = answer if api.is_http else answer.get("regions", {}).values()
    return {
        region["name"]: {
            "key": region["key"],
            "offset": int(region.get("offset", 0)),
            "byte_size": int(region["byte_size"]),
        }
        for region in regions
    }
