"""What is known not to work, and why: each stands in the page, and fails the run when it works."""

from tests.conformance.outcomes import Limit

LIMITS = (
    # Clients, call, case, error; reason.
    Limit(
        "tritonclient-*", "RepositoryModelLoad", "with a configuration", "parameter 'config' cannot be given",
        "Clients cannot send models or settings: what is served lies in the repository.",
    ),
    Limit(
        "tritonclient-*", "CudaSharedMemoryRegister", "*", "no model of this server runs on a CUDA device",
        "Served where a model runs on a CUDA device, and this page was written without one.",
    ),
    Limit(
        "tritonclient-*", "TraceSetting", "changed", "this server traces nothing",
        "The server traces nothing; the settings say so.",
    ),
    Limit(
        "mlserver-grpc", "ModelMetadata", "of a model with heads", "Exception deserializing response",
        "The signature travels in field 6, which the protocol declares as a map of text and MLServer otherwise.",
    ),
    Limit(
        "mlserver-grpc", "ModelStreamInfer", "*", "Exception deserializing response",
        "MLServer's stream answers with another message than Triton's, under the same name.",
    ),
    Limit(
        "mlserver-grpc", "inference.model_repository.*", "*", "this server has no method",
        "Not served: the same calls are in inference.GRPCInferenceService.",
    ),
    Limit(
        "*", "*", "BYTES, not UTF-8", "takes text in UTF-8",
        "Text is UTF-8: onnxruntime's Python hands out no other.",
    ),
    Limit(
        "tritonclient-*", "ModelInfer, parameters", "sequences", "models have no state here",
        "Models have no state between requests.",
    ),
    Limit(
        "*http*", "ModelInfer, JSON", "4 MiB", "the JSON has",
        "JSON is read up to a quarter of --max-message-mb, 16 MiB unless that is set: 4 MiB of FP32 are 20 MB of it. "
        "Binary tensors carry more.",
    ),
    *(
        Limit(
            "tritonclient-oldest-http*", "ModelInfer", case, "dtype float64, expected float32",
            "tritonclient 2.41 makes float64 of no elements.",
        )
        for case in ("no rows", "rows of no elements")
    ),
    Limit(
        "tritonclient-oldest-http-asyncio", "ModelInfer", "*, the request", "NameError",
        "A fault of tritonclient 2.41: it does not import what it compresses with.",
    ),
    Limit(
        "tritonclient-oldest-grpc*", "ModelInfer, parameters", "own: fractions", "The parameter datatype",
        "tritonclient 2.41 sends no fractions.",
    ),
)  # fmt: skip
