"""What the owner sets about compression, in the words of the wire (``/api/settings/compression``). Only models; nothing heavy."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from hub.wire import Body

Mode = Literal["off", "lite", "standard", "aggressive", "ultra", "rtk", "stacked"]
MODES: tuple[Mode, ...] = ("off", "lite", "standard", "aggressive", "ultra", "rtk", "stacked")
Engine = Literal["lite", "caveman", "aggressive", "ultra", "rtk"]
CavemanIntensity = Literal["lite", "full", "ultra"]
RtkIntensity = Literal["minimal", "standard", "aggressive"]
Speaker = Literal["user", "assistant", "system"]
#: An expression that is written by the owner; :mod:`hub.compression.expressions` says which may be used.
Expression = Annotated[str, Field(min_length=1, max_length=300)]
Word = Annotated[str, Field(min_length=1, max_length=120)]


class Step(Body):
    """One engine of a pipeline. ``intensity`` is the engine's own word; ``config`` replaces settings of that engine for this step."""

    engine: Engine = Field(description="lite, caveman, aggressive, ultra or rtk.")
    intensity: str = Field(default="", max_length=20, description="How far the engine goes, in its own words; empty: as it is set.")
    config: dict[str, Any] = Field(default={}, description="Settings of the engine for this step alone.")


class Caveman(Body):
    """Prose without filler words."""

    enabled: bool = Field(default=True, description="Whether the engine does anything.")
    compress_roles: tuple[Speaker, ...] = Field(default=("user",), description="Whose words are shortened.")
    skip_rules: tuple[Word, ...] = Field(default=(), max_length=200, description="Rules that are not used, by name.")
    min_message_length: int = Field(default=50, ge=0, le=1_000_000, description="Shorter texts stay as they are, in characters.")
    preserve_patterns: tuple[Expression, ...] = Field(default=(), max_length=50, description="What is never touched, as expressions.")
    intensity: CavemanIntensity = Field(default="full", description="lite drops courtesies, full articles too, ultra abbreviates.")


class OutputMode(Body):
    """An instruction to answer in few words. It makes the prompt longer and the answer shorter."""

    enabled: bool = Field(default=False, description="Whether models are told so.")
    intensity: CavemanIntensity = Field(default="full", description="How few words.")
    auto_clarity: bool = Field(default=True, description="Not where the talk is of danger, of what cannot be undone, or unclear.")


class Rtk(Body):
    """Output of commands and tools without noise."""

    enabled: bool = Field(default=True, description="Whether the engine does anything.")
    intensity: RtkIntensity = Field(default="standard", description="minimal only takes out noise, aggressive keeps fewer lines.")
    apply_to_tool_results: bool = Field(default=True, description="Results of tools.")
    apply_to_code_blocks: bool = Field(default=False, description="Fenced blocks in messages of users that a filter knows.")
    apply_to_assistant_messages: bool = Field(default=False, description="Fenced blocks in the model's own messages, too.")
    enabled_filters: tuple[Word, ...] = Field(default=(), max_length=200, description="Only these filters; empty: all.")
    disabled_filters: tuple[Word, ...] = Field(default=(), max_length=200, description="Not these filters.")
    max_lines_per_result: int = Field(default=120, ge=10, le=100_000, description="Most lines of one result.")
    max_chars_per_result: int = Field(default=12_000, ge=500, le=10_000_000, description="Most characters of one result.")
    deduplicate_threshold: int = Field(default=3, ge=2, le=1000, description="So many equal lines in a row become one.")
    custom_filters_enabled: bool = Field(default=True, description="Use the owner's filters in <data_dir>/compression/filters/*.json.")
    trust_project_filters: bool = Field(default=False, description="Use those of the folder the hub was started in, too.")
    raw_output_retention: Literal["never", "failures", "always"] = Field(
        default="never", description="Keep what was shortened for a day, sealed: never, where it speaks of failures, always."
    )
    raw_output_max_bytes: int = Field(default=1_048_576, ge=1024, le=8_388_608, description="Most bytes of one output that is kept.")


class Languages(Body):
    """In which languages prose is shortened. A text in another one is left alone."""

    enabled: bool = Field(default=False, description="Whether packs beside the default language's are used.")
    default_language: str = Field(default="en", max_length=10, description="The pack that is used.")
    auto_detect: bool = Field(default=True, description="Choose the pack by the text; otherwise only the default language's.")
    enabled_packs: tuple[Word, ...] = Field(default=("en",), max_length=50, description="Packs that may be chosen.")


class Ages(Body):
    """Distances from the end of a conversation, in messages, from which older ones are shortened further."""

    verbatim: int = Field(default=2, ge=1, le=10_000, description="Up to here nothing is touched.")
    light: int = Field(default=2, ge=1, le=10_000, description="Up to here only white space is.")
    moderate: int = Field(default=3, ge=1, le=10_000, description="Up to here filler words go.")
    full_summary: int = Field(default=5, ge=1, le=10_000, description="Beyond this a message becomes its gist.")


class ToolStrategies(Body):
    """Which kinds of tool output are cut down."""

    file_content: bool = Field(default=True, description="Code files: the head and the end.")
    grep_search: bool = Field(default=True, description="Matches of a search: the first ones and the files of all.")
    shell_output: bool = Field(default=True, description="Output of commands: the end.")
    json_: bool = Field(default=True, alias="json", description="JSON: the first and last items of long lists.")
    error_message: bool = Field(default=True, description="Errors: what went wrong and the first frames.")


class Aggressive(Body):
    """Long tool output and old messages cut down to their gist."""

    thresholds: Ages = Ages()
    tool_strategies: ToolStrategies = ToolStrategies()
    summarizer_enabled: bool = Field(default=True, description="Whether long messages become their gist.")
    max_tokens_per_message: int = Field(default=2048, ge=128, le=1_000_000, description="From here a message is long.")
    min_savings_threshold: float = Field(default=0.05, ge=0, le=1, description="If less is saved, caveman and lite are tried as well.")


class Ultra(Body):
    """Words of little weight dropped from prose. No model takes part."""

    enabled: bool = Field(default=True, description="Whether the engine does anything.")
    compression_rate: float = Field(default=0.5, ge=0.1, le=1, description="Share of a text's words that stays at least.")
    min_score_threshold: float = Field(default=0.3, ge=0, le=1, description="Only words that weigh less are dropped.")
    slm_fallback_to_aggressive: bool = Field(default=False, description="Use aggressive, too, where less than its least saving was saved.")
    max_tokens_per_message: int = Field(default=0, ge=0, le=1_000_000, description="Longer messages are left alone; 0: none is.")


class CompressionSettings(Body):
    """Everything about compression. Off until ``enabled``."""

    enabled: bool = Field(default=False, description="The master switch.")
    default_mode: Mode = Field(default="off", description="What requests get that nothing else decides about.")
    auto_trigger_mode: Mode = Field(default="lite", description="What long requests get.")
    auto_trigger_tokens: int = Field(default=0, ge=0, le=100_000_000, description="From so many tokens a request is long; 0: never.")
    cache_minutes: int = Field(default=5, ge=1, le=60, description="How long the short form of a text is remembered.")
    preserve_system_prompt: bool = Field(default=True, description="Whether instructions stay as they are.")
    preserve_cached_prefix: bool = Field(
        default=True, description="Whether everything up to a client's last prompt-cache marker stays as it is."
    )
    mcp_description_compression_enabled: bool = Field(default=False, description="Whether descriptions of MCP tools are shortened.")
    combo_overrides: dict[str, Mode] = Field(default={}, description="Mode of single combos, by id or name.")
    compression_combo_id: str | None = Field(default=None, max_length=200, description="Compression combo that stacked stands for.")
    stacked_pipeline: tuple[Step, ...] = Field(
        default=(Step(engine="rtk", intensity="standard"), Step(engine="caveman", intensity="full")),
        min_length=1,
        max_length=10,
        description="What stacked runs, in order.",
    )
    caveman_config: Caveman = Caveman()
    caveman_output_mode: OutputMode = OutputMode()
    rtk_config: Rtk = Rtk()
    language_config: Languages = Languages()
    aggressive: Aggressive = Aggressive()
    ultra: Ultra = Ultra()
