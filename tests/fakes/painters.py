"""Vendors that make pictures, films and music in formats of their own. Words in the prompt choose what becomes of it:
``blood`` is held back, ``broken`` fails, ``never`` is never done."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from tests.fakes.media import KEY, bearer, expect, only, path_of, query_of, strict
from tests.fakes.pictures import B64, PNG, form_of
from tests.fakes.upstream import Behaviour, answer_bytes, json_answer

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.fakes.upstream import Exchange, Received

    Handler = Callable[[Received], Behaviour]

MP4 = b"\0\0\0\x18ftypmp42" + bytes(40)
MP3 = b"ID3\x04" + bytes(60)


def served(handler: Handler, content: bytes = PNG) -> Handler:
    """The vendor beside its files, which are there for everybody who knows their address."""

    def answer(request: Received) -> Behaviour:
        if path_of(request).startswith("/made/"):
            assert not {"authorization", "x-key", "x-api-key", "x-goog-api-key"} & request.headers.keys()
            return answer_bytes(content)
        return handler(request)

    return answer


def where(request: Received, name: str = "one.png") -> str:
    return f"http://{request.headers['host']}/made/{name}"


def at(request: Received, path: str) -> str:
    return f"http://{request.headers['host']}{path}"


def is_png(text: Any) -> bool:
    return isinstance(text, str) and base64.b64decode(text.rpartition(",")[2]).startswith(b"\x89PNG")


class Looks:
    """How often a job was asked for; it is done when it is asked the second time."""

    def __init__(self) -> None:
        self.prompts: dict[str, str] = {}
        self.seen: dict[str, int] = {}

    def new(self, prompt: str) -> str:
        name = f"job-{len(self.prompts)}"
        self.prompts[name] = prompt
        return name

    def state(self, name: str) -> str:
        prompt = self.prompts[name]
        self.seen[name] = self.seen.get(name, 0) + 1
        if "never" in prompt or self.seen[name] < 2:
            return "waiting"
        return "blocked" if "blood" in prompt else "failed" if "broken" in prompt else "done"


def black_forest() -> Handler:
    looks = Looks()

    @strict
    def handler(request: Received) -> Behaviour:
        expect(request.headers.get("x-key") == KEY, "invalid key", 403)
        if request.method == "GET":
            name = query_of(request)["id"]
            state = {"waiting": "Pending", "blocked": "Content Moderated", "failed": "Error", "done": "Ready"}[looks.state(name)]
            return json_answer({"id": name, "status": state, "result": {"sample": where(request)} if state == "Ready" else None})
        body = request.json()
        expect(path_of(request).startswith("/v1/flux-"), "no such model", 404)
        shaped = "kontext" in path_of(request)
        sized = ("aspect_ratio",) if shaped else ("width", "height", "steps", "guidance")
        only(body, "prompt", "seed", "output_format", "safety_tolerance", "prompt_upsampling", "input_image", "input_image_2", *sized)
        expect(all(is_png(body[name]) for name in body if name.startswith("input_image")), "not an image")
        name = looks.new(body["prompt"])
        return json_answer({"id": name, "polling_url": at(request, f"/v1/get_result?id={name}")})

    return served(handler)


def fal() -> Handler:
    looks = Looks()

    @strict
    def handler(request: Received) -> Behaviour:
        expect(request.headers.get("authorization") == f"Key {KEY}", "invalid key", 401)
        path = path_of(request)
        if request.method == "POST":
            body = request.json()
            expect("prompt" in body, "prompt is required", 422)
            if path.endswith("/edit"):
                expect(is_png(body["image_urls"][0]), "image_urls is required", 422)
            elif "nano" in path:
                expect("image_size" not in body, "no such field", 422)
            name = looks.new(body["prompt"])
            base = at(request, f"/fal-ai/requests/{name}")
            return json_answer({"request_id": name, "response_url": base, "status_url": f"{base}/status", "cancel_url": f"{base}/cancel"})
        name = path.split("/")[3]
        if path.endswith("/cancel"):
            expect(request.method == "PUT", "method not allowed", 405)
            return json_answer({"status": "CANCELLATION_REQUESTED"}, status=202)
        if path.endswith("/status"):
            state = looks.state(name)
            error = {"error": "the runner crashed"} if state == "failed" else {}
            return json_answer({"status": "IN_PROGRESS" if state == "waiting" else "COMPLETED", **error})
        held = "blood" in looks.prompts[name]
        return json_answer({"images": [{"url": where(request), "content_type": "image/png"}], "has_nsfw_concepts": [held]})

    return served(handler)


@strict
def stability(request: Received) -> Behaviour:
    bearer(request)
    expect(request.headers.get("accept") == "application/json", "accept is required")
    path = path_of(request)
    if request.method == "GET":
        expect(path == "/v2beta/results/up-1", "no such job", 404)
        return json_answer({"result": B64, "finish_reason": "SUCCESS"})
    texts, files = form_of(request)
    if "blood" in texts.get("prompt", ""):
        words = "Your request was flagged by our content moderation system."
        return json_answer({"id": "1", "name": "content_moderation", "errors": [words]}, status=403)
    if path.startswith("/v2beta/stable-image/generate/"):
        expect(path.rpartition("/")[2] in ("ultra", "core", "sd3"), "no such path", 404)
        expect("prompt" in texts, "prompt: is required")
        expect(("model" in texts) == path.endswith("sd3"), "model: wrong")
        expect("image" not in files or "strength" in texts, "strength: is required")
    else:
        expect(path.startswith(("/v2beta/stable-image/edit/", "/v2beta/stable-image/upscale/")), "no such path", 404)
        expect(files["image"][0][2] == PNG, "image: is required")
        if path.endswith("creative"):
            return json_answer({"id": "up-1"})
    return json_answer({"image": B64, "finish_reason": "SUCCESS", "seed": 1})


@strict
def recraft_handler(request: Received) -> Behaviour:
    bearer(request)
    path = path_of(request)
    if path == "/v1/images/generations":
        body = request.json()
        only(body, "prompt", "model", "n", "size", "style", "substyle", "style_id", "response_format", "negative_prompt", "controls")
    else:
        body, files = form_of(request)
        expect(path in ("/v1/images/imageToImage", "/v1/images/inpaint"), "no such path", 404)
        expect(files["image"][0][2] == PNG, "image is required")
        expect(("mask" in files) == path.endswith("inpaint"), "mask is wrong")
        expect(("strength" in body) != path.endswith("inpaint"), "strength is wrong")
    expect("blood" not in body["prompt"], "the prompt breaks the content policy")
    one = {"b64_json": B64} if body.get("response_format") == "b64_json" else {"url": where(request)}
    return json_answer({"created": 1, "credits": 1, "data": [one] * int(body.get("n", 1))})


recraft = served(recraft_handler)


def nanobanana() -> Handler:
    looks = Looks()

    @strict
    def handler(request: Received) -> Behaviour:
        bearer(request)
        path = path_of(request)
        if request.method == "GET":
            expect(path == "/api/v1/nanobanana/record-info", "no such path", 404)
            name = query_of(request)["taskId"]
            state = looks.state(name)
            task: dict[str, Any] = {"taskId": name, "successFlag": {"waiting": 0, "done": 1, "failed": 2, "blocked": 3}[state]}
            task |= {"errorMessage": "it breaks the content policy"} if state == "blocked" else {}
            task |= {"response": {"resultImageUrl": where(request)}} if state == "done" else {}
            return json_answer({"code": 200, "msg": "success", "data": task})
        body = request.json()
        if path.endswith("/generate-pro"):
            only(body, "prompt", "imageUrls", "resolution", "aspectRatio", "callBackUrl")
        else:
            only(body, "prompt", "imageUrls", "type", "numImages", "image_size", "watermark", "callBackUrl")
            expect(body["type"] == ("IMAGETOIAMGE" if "imageUrls" in body else "TEXTTOIAMGE"), "type is wrong")
        if "poor" in body["prompt"]:
            return json_answer({"code": 402, "msg": "Insufficient credits", "data": None})
        return json_answer({"code": 200, "msg": "success", "data": {"taskId": looks.new(body["prompt"])}})

    return served(handler)


def topaz() -> Handler:
    looks = Looks()

    @strict
    def handler(request: Received) -> Behaviour:
        expect(request.headers.get("x-api-key") == KEY, "invalid key", 401)
        _, _, _, what, name = path_of(request).split("/")
        if what == "enhance":
            texts, files = form_of(request)
            only(texts, "model", "output_width", "output_height", "output_format", "face_enhancement")
            expect(files["image"][0][2] == PNG, "image is required")
            return json_answer({"process_id": looks.new(texts.get("output_format", "")), "eta": 1})
        if what == "cancel":
            expect(request.method == "DELETE", "method not allowed", 405)
            return json_answer({})
        if what == "download":
            return json_answer({"download_url": where(request), "expiry": 1})
        return json_answer({"status": {"waiting": "Processing", "failed": "Failed", "done": "Completed"}[looks.state(name)]})

    return served(handler)


@strict
def hyperbolic(request: Received) -> Behaviour:
    bearer(request)
    expect(path_of(request) == "/v1/image/generation", "no such path", 404)
    body = request.json()
    only(body, "model_name", "prompt", "width", "height", "steps", "cfg_scale", "seed", "backend", "image", "strength", "negative_prompt")
    return json_answer({"images": [{"index": 0, "image": B64, "random_seed": 1}], "inference_time": 1.0})


def fireworks() -> Handler:
    looks = Looks()

    @strict
    def handler(request: Received) -> Behaviour:
        bearer(request)
        path, body = path_of(request), request.json()
        if path == "/v1/workflows/accounts/fireworks/models/flux-kontext-pro":
            only(body, "prompt", "input_image", "aspect_ratio", "seed", "output_format", "safety_tolerance")
            return json_answer({"request_id": looks.new(body["prompt"])})
        if path.endswith("/get_result"):
            state = {"waiting": "Pending", "blocked": "Request Moderated", "failed": "Error", "done": "Ready"}[looks.state(body["id"])]
            return json_answer({"id": body["id"], "status": state, "result": {"sample": where(request)} if state == "Ready" else None})
        expect(request.headers.get("accept") == "application/json", "not acceptable", 406)
        reason = "CONTENT_FILTERED" if "blood" in body["prompt"] else "SUCCESS"
        if path == "/v1/workflows/accounts/fireworks/models/flux-1-schnell-fp8/text_to_image":
            only(body, "prompt", "aspect_ratio", "guidance_scale", "num_inference_steps", "seed")
            return json_answer({"id": "1", "base64": [f"data:image/png;base64,{B64}"], "finishReason": reason, "seed": 1})
        expect(path == "/v1/image_generation/accounts/fireworks/models/stable-diffusion-xl-1024-v1-0", "no such model", 404)
        only(body, "prompt", "negative_prompt", "samples", "width", "height", "cfg_scale", "steps", "seed")
        return json_answer([{"base64": B64, "finishReason": reason, "seed": 1}] * body["samples"])

    return served(handler)


@strict
def openrouter(request: Received) -> Behaviour:
    bearer(request)
    expect(path_of(request) == "/api/v1/chat/completions", "no such path", 404)
    body = request.json()
    only(body, "model", "messages", "modalities", "image_config", "seed")
    expect("image" in body["modalities"], "no image was asked for")
    expect(("text" in body["modalities"]) == ("flux" not in body["model"]), "no endpoints found that support these modalities", 404)
    parts = body["messages"][0]["content"]
    if any("only words" in part.get("text", "") for part in parts):
        return json_answer({"choices": [{"message": {"role": "assistant", "content": "I would rather not"}}]})
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{B64}"}}
    message = {"role": "assistant", "content": "Here it is", "images": [image]}
    usage = {"prompt_tokens": 10, "completion_tokens": 1290, "total_tokens": 1300}
    return json_answer({"id": "1", "choices": [{"message": message, "finish_reason": "stop"}], "usage": usage})


@strict
def gemini(request: Received) -> Behaviour:
    expect(request.headers.get("x-goog-api-key") == KEY, "API key not valid", 400)
    body = request.json()
    if path_of(request).endswith(":predict"):
        only(body, "instances", "parameters")
        if "blood" in body["instances"][0]["prompt"]:
            return json_answer({"predictions": [{"raiFilteredReason": "the prompt breaks the policy"}]})
        return json_answer({"predictions": [{"bytesBase64Encoded": B64, "mimeType": "image/png"}] * body["parameters"]["sampleCount"]})
    expect(path_of(request).startswith("/v1beta/models/") and path_of(request).endswith(":generateContent"), "no such path", 404)
    config = body["generationConfig"]
    if "blood" in json.dumps(body["contents"]):
        return json_answer({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}})
    sound = "AUDIO" in config["responseModalities"]
    data = {"mimeType": "audio/mpeg", "data": base64.b64encode(MP3).decode()} if sound else {"mimeType": "image/png", "data": B64}
    parts = [{"text": "Here it is"}, {"inlineData": data}]
    used = {"promptTokenCount": 10, "candidatesTokenCount": 1120, "totalTokenCount": 1130}
    return json_answer({"candidates": [{"content": {"parts": parts}, "finishReason": "STOP"}], "usageMetadata": used})


def nearly_openai(*fields: str, sized: str = "size", base64_word: str = "b64_json") -> Handler:
    """A server near to OpenAI's that refuses other fields than these."""

    @strict
    def handler(request: Received) -> Behaviour:
        bearer(request)
        path = path_of(request)
        expect(path in ("/v1/images/generations", "/v1/images/edits"), "no such path", 404)
        body = form_of(request)[0] if request.headers["content-type"].startswith("multipart") else request.json()
        only(body, "model", "prompt", "n", "response_format", "quality", *sized.split(), *fields)
        for name in ("image_url", "imageDataUrl"):
            expect(name not in body or is_png(body[name]), "not an image")
        wanted = body.get("response_format", "url")
        expect(wanted in ("url", base64_word), "invalid response_format")
        one = {"url": where(request)} if wanted == "url" else {"b64_json": B64}
        return json_answer({"created": 1, "data": [one] * int(body["n"])})

    return served(handler)


def web_ui(content: bytes = PNG) -> Handler:
    @strict
    def handler(request: Received) -> Behaviour:
        path = path_of(request)
        if path == "/sdapi/v1/sd-models":
            return json_answer([{"title": "sd_xl_base_1.0.safetensors [31e35c80fc]", "model_name": "sdxl-base-1.0"}])
        if path == "/sdapi/v1/interrupt":
            return json_answer({})
        body = request.json()
        expect(path == ("/sdapi/v1/img2img" if "init_images" in body else "/sdapi/v1/txt2img"), "no such path", 404)
        if "never" in body["prompt"]:

            async def run(exchange: Exchange) -> None:
                await exchange.hold()

            return Behaviour(run)
        made = base64.b64encode(content).decode()
        return json_answer({"images": [made] * body.get("n_iter", 1), "parameters": {}, "info": "{}"})

    return handler


def _graph(request: Received) -> dict[str, Any]:
    """A graph whose links all lead somewhere."""
    graph = request.json()["prompt"]
    links = [link for node in graph.values() for link in node["inputs"].values() if isinstance(link, list)]
    expect(all(link[0] in graph for link in links), "a node is missing")
    return graph


def comfy(content: bytes = PNG, output: str = "images") -> Handler:
    looks = Looks()
    offered = {
        "ckpt_name": ["sdxl.safetensors", "svd_xt.safetensors", "stable-audio-open-1.0.safetensors"],
        "clip_name": ["t5_base.safetensors"],
        "model_name": ["animatediff_v3.ckpt"],
    }

    def history(request: Received) -> Behaviour:
        name = path_of(request).rpartition("/")[2]
        state = looks.state(name)
        if state == "waiting":
            return json_answer({})
        if state == "failed":
            said = ["execution_error", {"exception_message": "CUDA out of memory"}]
            return json_answer({name: {"outputs": {}, "status": {"status_str": "error", "completed": False, "messages": [said]}}})
        file = {"filename": "hubroute_1", "subfolder": "", "type": "output"}
        return json_answer({name: {"outputs": {"7": {output: [file]}}, "status": {"status_str": "success", "completed": True}}})

    @strict
    def handler(request: Received) -> Behaviour:
        path = path_of(request)
        if path.startswith("/object_info/"):
            kind = path.rpartition("/")[2]
            return json_answer({kind: {"input": {"required": {name: [files, {}] for name, files in offered.items()}}}})
        if path == "/upload/image":
            expect(form_of(request)[1]["image"][0][2] == PNG, "no image")
            return json_answer({"name": "hubroute.png", "subfolder": "", "type": "input"})
        if path == "/prompt":
            return json_answer({"prompt_id": looks.new(json.dumps(_graph(request))), "number": 1, "node_errors": {}})
        if path == "/view":
            expect(query_of(request)["filename"] == "hubroute_1", "no such file", 404)
            return answer_bytes(content)
        return json_answer({}) if path in ("/queue", "/interrupt") else history(request)

    return handler


def runway() -> Handler:
    looks = Looks()

    @strict
    def handler(request: Received) -> Behaviour:
        bearer(request)
        expect(request.headers.get("x-runway-version") == "2024-11-06", "version is required")
        path = path_of(request)
        if path.startswith("/v1/tasks/"):
            if request.method == "DELETE":
                return answer_bytes(b"", status=204)
            name = path.rpartition("/")[2]
            state = looks.state(name)
            if state == "waiting":
                return json_answer({"id": name, "status": "RUNNING", "progress": 0.5})
            if state == "done":
                return json_answer({"id": name, "status": "SUCCEEDED", "output": [where(request, "one.mp4")]})
            code = "SAFETY.INPUT.TEXT" if state == "blocked" else "INTERNAL.BAD_OUTPUT.CODE01"
            return json_answer({"id": name, "status": "FAILED", "failure": "it did not work", "failureCode": code})
        body = request.json()
        expect(path in ("/v1/text_to_video", "/v1/image_to_video"), "no such path", 404)
        only(body, "model", "promptText", "promptImage", "ratio", "duration", "seed", "audio", "contentModeration")
        expect(("promptImage" in body) == path.endswith("image_to_video"), "promptImage is wrong")
        return json_answer({"id": looks.new(body["promptText"])})

    return served(handler, MP4)
