"""Music of ComfyUI at home: Stable Audio's graph, or a workflow of the client's. Source: ComfyUI's example workflows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hub.media.films import Clip
from hub.media.jobs import number, unsent
from hub.providers.media._clips import lasting, made, said
from hub.providers.media._comfy import Graph, installed, node, own_graph, run

if TYPE_CHECKING:
    from hub.media.jobs import ClipJob
    from hub.media.order import Line, Made
    from hub.providers.base import Target

_KNOWN = ("workflow", "negative_prompt", "seed", "steps", "cfg_scale", "text_encoder")
_SECONDS = 30.0


class ComfyMusic:
    """``POST /prompt``."""

    service = "music"
    name = "comfyui"

    async def make(self, job: ClipJob, target: Target, line: Line) -> Made[list[Clip]]:
        """One job."""
        seconds = job.seconds or _SECONDS
        graph = own_graph(job.extra, job.prompt) or await _plain(job, target, line, seconds)
        files = await run(graph, target, line, self.service, lambda: line.taken(said(job), lasting(seconds)))
        return await made(job, [Clip(one) for one in files], line, seconds=seconds, dropped=unsent(job.extra, _KNOWN))


async def _plain(job: ClipJob, target: Target, line: Line, seconds: float) -> Graph:
    extra = job.extra
    name = await installed(target, line, "music", "CheckpointLoaderSimple", "ckpt_name", target.model)
    words = await installed(target, line, "music", "CLIPLoader", "clip_name", str(extra.get("text_encoder") or "t5"))
    return {
        "1": node("CheckpointLoaderSimple", ckpt_name=name),
        "2": node("CLIPLoader", clip_name=words, type="stable_audio"),
        "3": node("CLIPTextEncode", text=job.prompt, clip=["2", 0]),
        "4": node("CLIPTextEncode", text=str(extra.get("negative_prompt") or ""), clip=["2", 0]),
        "5": node("ConditioningStableAudio", positive=["3", 0], negative=["4", 0], seconds_start=0.0, seconds_total=seconds),
        "6": node("EmptyLatentAudio", seconds=seconds, batch_size=1),
        "7": node(
            "KSampler", seed=int(number(extra, "seed", 0)), steps=int(number(extra, "steps", 50)), cfg=number(extra, "cfg_scale", 5.0),
            sampler_name="dpmpp_3m_sde_gpu", scheduler="exponential", denoise=1.0, model=["1", 0], positive=["5", 0],
            negative=["5", 1], latent_image=["6", 0],
        ),
        "8": node("VAEDecodeAudio", samples=["7", 0], vae=["1", 2]),
        "9": node("SaveAudioMP3", audio=["8", 0], filename_prefix="hubroute", quality="V0"),
    }  # fmt: skip


COMFY = ComfyMusic()
