"""Films of ComfyUI at home: Stable Video Diffusion's graph for a picture, AnimateDiff's for words, or a workflow of the client's.

Source: ComfyUI's example workflows; ComfyUI-AnimateDiff-Evolved.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hub.media.films import Clip
from hub.media.jobs import number, unsent
from hub.media.pictures import measured
from hub.providers.media._clips import lasting, made, said
from hub.providers.media._comfy import Graph, installed, node, own_graph, put, run

if TYPE_CHECKING:
    from hub.media.jobs import ClipJob
    from hub.media.order import Line, Made
    from hub.providers.base import Target

_KNOWN = ("workflow", "negative_prompt", "seed", "steps", "cfg_scale", "fps", "checkpoint", "motion_bucket_id")
_RATE, _SECONDS = 8, 2.0


class ComfyVideo:
    """``POST /prompt``; frames are put together as WebP, which every installation can write."""

    service = "video"
    name = "comfyui"

    async def make(self, job: ClipJob, target: Target, line: Line) -> Made[list[Clip]]:
        """One job."""
        seconds = job.seconds or _SECONDS
        graph = own_graph(job.extra, job.prompt) or await _plain(job, target, line, seconds)
        files = await run(graph, target, line, self.service, lambda: line.taken(said(job), lasting(seconds)))
        return await made(job, [Clip(one) for one in files], line, seconds=seconds, dropped=unsent(job.extra, _KNOWN))


async def _plain(job: ClipJob, target: Target, line: Line, seconds: float) -> Graph:
    extra, rate = job.extra, int(number(job.extra, "fps", _RATE))
    width, height = measured(job.size) or ((1024, 576) if job.images else (512, 512))
    frames = max(2, round(seconds * rate))
    if job.images:
        name = await installed(target, line, "video", "ImageOnlyCheckpointLoader", "ckpt_name", target.model)
        graph = {
            "1": node("ImageOnlyCheckpointLoader", ckpt_name=name),
            "2": node("LoadImage", image=await put(job.images[0], target, line, "video")),
            "3": node(
                "SVD_img2vid_Conditioning", clip_vision=["1", 1], init_image=["2", 0], vae=["1", 2], width=width, height=height,
                video_frames=frames, motion_bucket_id=int(number(job.extra, "motion_bucket_id", 127)), fps=rate, augmentation_level=0.0,
            ),
            "4": node("VideoLinearCFGGuidance", model=["1", 0], min_cfg=1.0),
        }  # fmt: skip
        sampled, decoder = _sampler(job, ["4", 0], (["3", 0], ["3", 1], ["3", 2]), 2.5), ["1", 2]
    else:
        motion = await installed(target, line, "video", "ADE_AnimateDiffLoaderGen1", "model_name", target.model)
        wanted = str(extra.get("checkpoint") or "")
        name = await installed(target, line, "video", "CheckpointLoaderSimple", "ckpt_name", wanted)
        graph = {
            "1": node("CheckpointLoaderSimple", ckpt_name=name),
            "2": node("ADE_AnimateDiffLoaderGen1", model=["1", 0], model_name=motion, beta_schedule="autoselect"),
            "3": node("CLIPTextEncode", text=job.prompt, clip=["1", 1]),
            "4": node("CLIPTextEncode", text=str(extra.get("negative_prompt") or ""), clip=["1", 1]),
            "8": node("EmptyLatentImage", width=width, height=height, batch_size=frames),
        }
        sampled, decoder = _sampler(job, ["2", 0], (["3", 0], ["4", 0], ["8", 0]), 7.0), ["1", 2]
    graph["5"] = sampled
    graph["6"] = node("VAEDecode", samples=["5", 0], vae=decoder)
    graph["7"] = node(
        "SaveAnimatedWEBP", images=["6", 0], filename_prefix="hubroute", fps=float(rate), lossless=False, quality=85, method="default"
    )
    return graph


def _sampler(job: ClipJob, model: list[object], guides: tuple[list[object], list[object], list[object]], cfg: float) -> dict[str, object]:
    return node(
        "KSampler",
        seed=int(number(job.extra, "seed", 0)),
        steps=int(number(job.extra, "steps", 20)),
        cfg=number(job.extra, "cfg_scale", cfg),
        sampler_name="euler",
        scheduler="normal",
        denoise=1.0,
        model=model,
        positive=guides[0],
        negative=guides[1],
        latent_image=guides[2],
    )


COMFY = ComfyVideo()
