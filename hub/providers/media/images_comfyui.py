"""Pictures of ComfyUI at home: a checkpoint's plain graph, or a workflow of the client's. Source: ComfyUI's example workflows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hub.media.jobs import number, unsent
from hub.media.pictures import Image, Images, measured
from hub.providers.media._comfy import Graph, installed, node, own_graph, put, run
from hub.providers.media._pictures import Begun, made, maskless

if TYPE_CHECKING:
    from hub.media.jobs import ImageJob
    from hub.media.order import Line, Made
    from hub.providers.base import Target

_KNOWN = ("workflow", "negative_prompt", "seed", "steps", "cfg_scale", "sampler_name", "scheduler", "denoising_strength")


class ComfyImages:
    """``POST /prompt``; the file of a model is found by its name among the checkpoints that are installed."""

    service = "images"
    name = "comfyui"

    async def make(self, job: ImageJob, target: Target, line: Line) -> Made[Images]:
        """One job for all pictures."""
        maskless(job, target)
        graph = own_graph(job.extra, job.prompt) or await _plain(job, target, line)
        files = await run(graph, target, line, self.service, Begun(job, line).one)
        return await made(job, [Image(one) for one in files], line, dropped=unsent(job.extra, _KNOWN))


async def _plain(job: ImageJob, target: Target, line: Line) -> Graph:
    extra = job.extra
    width, height = measured(job.size) or (1024, 1024)
    name = await installed(target, line, "images", "CheckpointLoaderSimple", "ckpt_name", target.model)
    graph = {
        "1": node("CheckpointLoaderSimple", ckpt_name=name),
        "2": node("CLIPTextEncode", text=job.prompt, clip=["1", 1]),
        "3": node("CLIPTextEncode", text=str(extra.get("negative_prompt") or ""), clip=["1", 1]),
        "4": node("EmptyLatentImage", width=width, height=height, batch_size=job.count),
        "6": node("VAEDecode", samples=["5", 0], vae=["1", 2]),
        "7": node("SaveImage", filename_prefix="hubroute", images=["6", 0]),
    }
    strength = 1.0
    if job.images:
        strength = number(job.extra, "denoising_strength", 0.75)
        graph["8"] = node("LoadImage", image=await put(job.images[0], target, line, "images"))
        graph["9"] = node("VAEEncode", pixels=["8", 0], vae=["1", 2])
        graph["4"] = node("RepeatLatentBatch", samples=["9", 0], amount=job.count)
    graph["5"] = node(
        "KSampler",
        seed=int(number(job.extra, "seed", 0)),
        steps=int(number(job.extra, "steps", 20)),
        cfg=number(job.extra, "cfg_scale", 7.0),
        sampler_name=str(extra.get("sampler_name") or "euler"),
        scheduler=str(extra.get("scheduler") or "normal"),
        denoise=strength,
        model=["1", 0],
        positive=["2", 0],
        negative=["3", 0],
        latent_image=["4", 0],
    )
    return graph


COMFY = ComfyImages()
