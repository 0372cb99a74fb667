"""The engines by example: rules of every language, filters with the tests they carry, JSON, expressions that owners write."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from hub.chat import ChatRequest, Message, Role, Text, ToolCall, ToolResult
from hub.compression import descriptions, filters, jsontext, lines, output, packs, protected, trial
from hub.compression.conversation import MOST_TEXT, Stage, compress
from hub.compression.expressions import safe
from hub.compression.memory import ShortForms
from hub.compression.settings import Aggressive, Caveman, CompressionSettings, Rtk, ToolStrategies, Ultra
from hub.compression.technique import Options, Piece, Shortened, techniques
from hub.errors import BadRequest
from tests.fakes.clock import Still

if TYPE_CHECKING:
    from pathlib import Path

    from hub.compression.filters import Filter

USER, RESULT = Piece("user"), Piece("tool", result=True)


def options(*languages: str, **fields: Any) -> Options:
    return Options(CompressionSettings(enabled=True, **fields), filters.shipped(), packs=languages or ("en",))


def short(engine: str, text: str, piece: Piece = USER, given: Options | None = None) -> Shortened:
    work = techniques()[engine].piece
    assert work is not None
    return work(text, piece, given or options())


@pytest.mark.parametrize(
    ("language", "text", "wanted"),
    [
        ("en", "Could you please tell me what is wrong in this file, due to the fact that it is basically not what I want?",
         "Tell me what is wrong in this file, because it is not what I want?"),
        ("en", "Please note that this is not just a question of style, and I do not really want it to be so.",
         "This is not just question of style, and I do not really want it to be so."),
        ("de", "Könntest du bitte die Datei prüfen, damit wir wissen, was eigentlich mit den Zahlen nicht stimmt?",
         "Die Datei prüfen, damit wir wissen, was mit den Zahlen nicht stimmt?"),
        ("fr", "Pourriez-vous s'il vous plaît vérifier le fichier afin de savoir ce qui ne va pas dans les données ?",
         "Vérifier le fichier pour savoir ce qui ne va pas dans les données ?"),
        ("es", "Necesito que revises por favor el archivo con el fin de saber qué es lo que está mal en los datos.",
         "Revises el archivo para saber qué es lo que está mal en los datos."),
        ("pt-BR", "Preciso que você verifique por favor o arquivo a fim de saber o que não está certo nos dados.",
         "Verifique o arquivo para saber o que não está certo nos dados."),
        ("ja", "お手数ですが、このファイルを確認していただけますか。データの問題点を教えてください。よろしくお願いします。",
         "このファイルを確認して。データの問題点を教えて。"),
    ],
)  # fmt: skip
def test_prose_in_every_language(language: str, text: str, wanted: str) -> None:
    assert short("caveman", text, given=options(language, caveman_config=Caveman(min_message_length=20))).text == wanted
    # with the pack of another language alone it stays as it is
    other = "fr" if language != "fr" else "de"
    assert short("caveman", text, given=options(other)).text == text


def test_what_prose_keeps() -> None:
    text = (
        "---\ntitle: the just\n---\n# Please the heading\nCould you please look at the table and the code of the app?\n| the | just |\n"
        "```\nthe  just code\n```\n> the quoted just\nIt says \"the just thing\" and 'the very one' in `the code` at the_just_name, "
        'https://a.example/the/very and a 3.5 of v1.2.\n    the indented just\nTypeError: the just error\n{"the": "just"}\n'
    )
    made = short("caveman", text).text
    for kept in ("---\ntitle: the just\n---\n", "# Please the heading\n", "| the | just |\n", "```\nthe  just code\n```\n",
                 "> the quoted just\n",
                 '"the just thing"', "'the very one'", "`the code`", "the_just_name", "https://a.example/the/very", "3.5", "v1.2.",
                 "    the indented just\n", "TypeError: the just error\n", '{"the": "just"}\n'):  # fmt: skip
        assert kept in made, kept
    assert "Look at table and code of app?\n" in made


@pytest.mark.parametrize("intensity", ["lite", "full", "ultra"])
def test_intensities_go_further(intensity: str) -> None:
    text = "Please write the function that is used for the configuration of the database in the production environment for me."
    made = short("caveman", text, given=options(caveman_config=Caveman(intensity=intensity))).text  # pyright: ignore[reportArgumentType]
    wanted = {
        "lite": "Write the function that is used for the configuration of the database in the production environment for me.",
        "full": "Write function that is used for configuration of database in production environment for me.",
        "ultra": "Write fn that used for config of DB in prod env for me.",
    }
    assert made == wanted[intensity]


def test_whose_words_and_which_rules() -> None:
    text = "Could you please tell me what is wrong in the file and what I should do about it now?"
    assert short("caveman", text, Piece("assistant")).text == text
    assert short("caveman", text, Piece("user"), options(caveman_config=Caveman(enabled=False))).text == text
    assert short("caveman", text, Piece("user"), options(caveman_config=Caveman(min_message_length=500))).text == text
    kept = short("caveman", text, given=options(caveman_config=Caveman(skip_rules=("articles", "please"))))
    assert (kept.text, kept.rules) == ("Tell me what is wrong in the file and what I should do about it now?", ["polite-request"])
    system = options(caveman_config=Caveman(compress_roles=("system",)))
    assert short("caveman", text, Piece("developer"), system).text != text
    own = options(caveman_config=Caveman(preserve_patterns=("wrong in the",)))
    assert short("caveman", text, given=own).text == text


def test_long_lines_are_cut_between_sentences() -> None:
    one = 'Please look at the "very. Just one" and the `code. Just` of it, in order to be sure. '
    made = short("caveman", one * 80).text
    assert made == ('Look at "very. Just one" and `code. Just` of it, to be sure. ' * 80)
    assert short("caveman", "the just " * 1000).text == "the just " * 1000  # without an end it is no prose


def test_a_run_that_loses_a_protected_span_stays() -> None:
    made, kept, sound = protected.shortened("keep `this` here", (), lambda run: run.replace("\ue000", ""))
    assert (made, kept, sound) == ("keep `this` here", 1, False)


def test_ultra_drops_light_words_and_keeps_what_binds() -> None:
    text = "We should not delete any of the files in this folder unless all of the tests have been run before and it is really safe."
    made = short("ultra", text).text
    assert made.startswith("[COMPRESSED:ultra] ")
    assert all(word in made for word in ("not", "any", "unless", "all", "before", "files", "tests", "safe"))
    assert len(made) < len(text)
    assert short("ultra", made).text == made
    whole = options(ultra=Ultra(compression_rate=1))
    assert "of files in this" in short("ultra", text, given=whole).text
    assert short("ultra", text, given=options(ultra=Ultra(enabled=False))).text == text
    assert short("ultra", text, given=options(ultra=Ultra(max_tokens_per_message=3))).text == text


@pytest.mark.parametrize("one", filters.shipped().all, ids=lambda one: one.id)
def test_filters_pass_the_tests_they_carry(one: Filter) -> None:
    assert one.row.tests
    limits = lines.Limits(120, 12_000, 24, 24, 3)
    for example in one.row.tests:
        detected = filters.shipped().detect(example.input, example.command, Rtk())
        assert detected.filter is one, example.name
        made = "\n".join(lines.filtered(lines.plain(example.input).split("\n"), one, limits, []))
        assert example.expected is None or made == example.expected
        assert all(part in made for part in example.has), made
        assert not any(part in made for part in example.lacks), made


@pytest.mark.parametrize("one", filters.shipped().all, ids=lambda one: one.id)
def test_no_filter_is_slow(one: Filter) -> None:
    """SEC-34: lines made to be slow, as long as lines are looked at."""
    patterns = [*one.looks, *one.include, *one.drop, *one.collapse, *one.errors, *one.sums, *(pattern for pattern, _ in one.replace)]
    hostile = [
        part * (2000 // len(part)) for part in (" ", "a", "1", "\t", "-", ".", "a.", "1 ", "/a", "a: ", "=", "::a", "at ", "[1/1] ", "1:1 ")
    ]
    began = time.process_time()
    for line in hostile:
        lines.filtered([line], one, lines.Limits(120, 12_000, 24, 24, 3), [])
        for pattern in patterns:
            pattern.search(line)
    assert time.process_time() - began < 1.5


@pytest.mark.parametrize("language", list(packs.rows()))
def test_no_rule_is_slow(language: str) -> None:
    """SEC-34, REL-23: texts made to be slow, as long as a run of prose is."""
    rules = packs.chosen(language, "ultra", "user", ())
    for part in ("a ", "the the ", "please, ", ", , ", "! ", "so ", "I think that ", "is are ", "\ue000 ", "。", "a" * 50 + " ", "' ", '"'):
        text = part * (4000 // len(part))
        began = time.process_time()
        protected.shortened(text, (), lambda prose: packs.applied(prose, rules)[0])
        assert time.process_time() - began < 0.5, part


def test_hyphens_within_words_are_no_options() -> None:
    text = "Please have a look at the well-known and just-so story, and at --the-option of -x=the just."
    assert short("caveman", text).text == "Have look at well-known and just-so story, and at --the-option of -x=the."


def test_commands_are_known_however_they_are_called() -> None:
    for command in ("git status", "cd /x && git -c a=b status", "sudo git --no-pager status -s", "FOO=1 /usr/bin/git status | head"):
        found = filters.shipped().detect("anything", command, Rtk()).filter
        assert found is not None, command
        assert found.id == "git-status"
    assert filters.shipped().detect("anything", "uv run pytest -q", Rtk()).filter is not None
    assert filters.shipped().detect("anything", "frobnicate", Rtk()).filter is None
    off = Rtk(disabled_filters=("git-status",))
    assert filters.shipped().detect("anything", "git status", off).filter is None
    only = Rtk(enabled_filters=("pytest",))
    assert filters.shipped().detect("anything", "git status", only).filter is None


def test_long_output_keeps_head_end_and_errors() -> None:
    text = "\n".join(
        [*(f"line {number}" for number in range(200)), "error: the one thing", *(f"line {number}" for number in range(200, 400))]
    )
    made = short("rtk", text, RESULT).text
    assert made.splitlines()[0] == "line 0"
    assert made.splitlines()[-2] == "line 399"
    assert "error: the one thing" in made
    assert made.splitlines()[-1] == "[hub: 401 lines shortened to 51 by generic]"
    assert short("rtk", made, RESULT).text == made
    fewer = short("rtk", text, RESULT, options(rtk_config=Rtk(intensity="aggressive"))).text
    assert len(fewer.splitlines()) < len(made.splitlines())
    assert short("rtk", text, RESULT, options(rtk_config=Rtk(intensity="minimal"))).text == text
    assert short("rtk", text, RESULT, options(rtk_config=Rtk(apply_to_tool_results=False))).text == text
    assert short("rtk", text, RESULT, options(rtk_config=Rtk(enabled=False))).text == text


def test_noise_of_terminals_and_repetitions() -> None:
    text = "\x1b[32mok\x1b[0m\n10%\r50%\r100%\n" + "again\n" * 30 + "end of it all, with some words so that it pays"
    made = short("rtk", text, RESULT).text
    assert made.startswith("ok\n100%\nagain  (x30)\nend of it all")
    assert short("rtk", "\x1b[32mok\x1b[0m", RESULT) == Shortened("ok", ["generic:stripAnsi"])


def test_what_a_file_holds_stays_word_for_word() -> None:
    text = "\n".join(f"line {number}   " for number in range(1000))
    for piece in (Piece("tool", True, "Read"), Piece("tool", True, "mcp__fs__read_file"), Piece("tool", True, "bash", "cat -n a.py")):
        assert output.verbatim(piece)
        assert short("rtk", text, piece).text == text
        assert short("lite", text, piece).text == text


def test_fenced_blocks_only_where_the_owner_says_so() -> None:
    block = (
        'See:\n```\nOn branch main\n  (use "git add <file>..." to update)\n\tmodified:   a.py\nno changes added to commit (x)\n```\nWell.'
    )
    assert short("rtk", block).text == block
    given = options(rtk_config=Rtk(apply_to_code_blocks=True))
    made = short("rtk", block, given=given)
    assert made.text.startswith("See:\n```\nOn branch main\n\tmodified:   a.py\n[hub: ")
    assert made.text.endswith("]\n```\nWell.")
    assert short("rtk", block, Piece("assistant"), given).text == block
    plain = "```\nprint('the')\n\n\n\nprint('just')\n```"
    assert short("rtk", plain, given=given).text == plain


def test_json_is_shortened_as_json() -> None:
    tree = {"items": [{"id": number, "price": 1.50, "big": 12345678901234567890123} for number in range(300)], "ok": True}
    text = json.dumps(tree, indent=2)
    made = short("rtk", text, RESULT).text
    read = json.loads(made)
    assert len(made) <= 12_000
    assert read["items"][0] == tree["items"][0]
    assert read["items"][-1] == tree["items"][-1]
    assert [item for item in read["items"] if isinstance(item, str)] == [f"[hub: {300 - len(read['items']) + 1} items left out]"]
    assert short("rtk", made, RESULT).text == made
    small = json.dumps({"a": [1, 2.50, "x  y"]}, indent=2)
    assert short("rtk", small, RESULT).text == '{"a":[1,2.5,"x  y"]}'
    assert jsontext.compact('{"a" : 1.50e+3 }') == '{"a":1.50e+3}'
    assert not jsontext.is_json("[not json")
    assert not jsontext.is_json("[" * 100_000)


@pytest.mark.parametrize(
    ("text", "piece", "part"),
    [
        ("\n".join(f"src/a{number}.py:{number}:needle" for number in range(90)), RESULT, "60 more in src/a30.py, "),
        ("\n".join(f"{number}\tdef f{number}(): ..." for number in range(90)), Piece("tool", True, "read_file"), "65 lines left out"),
        ("Error: it broke\n" + "\n".join(f"  at f{number} (a.js:{number})" for number in range(90)), RESULT, "77 lines left out"),
        ("\n".join(f"step {number} done" for number in range(90)), RESULT, "... 40 lines left out"),
        (json.dumps([{"n": number, "words": "so many of them"} for number in range(200)]), RESULT, "193 items left out"),
    ],
    ids=["grep", "file", "error", "shell", "json"],
)
def test_aggressive_cuts_output_by_what_it_is(text: str, piece: Piece, part: str) -> None:
    made = short("aggressive", text, piece).text
    assert part in made
    assert short("aggressive", made, piece).text == made
    none = ToolStrategies(file_content=False, grep_search=False, shell_output=False, json_=False, error_message=False)
    assert short("aggressive", text, piece, options(aggressive=Aggressive(tool_strategies=none))).text == text


def test_lite() -> None:
    assert short("lite", "One.   \n\n\n\nTwo.\n```\na  \n\n\n\nb\n```\n").text == "One.\n\nTwo.\n```\na  \n\n\n\nb\n```\n"
    text = "\n".join(f"line {number}" for number in range(900))
    made = short("lite", text, RESULT).text
    assert len(made) <= 2100
    assert "\n[hub: truncated, " in made
    assert made.endswith("line 899")
    again = [Message(Role.USER, [Text("Go on.")]), Message(Role.USER, [Text("Go on.")]), Message(Role.ASSISTANT, [Text("Go on.")])]
    stage = Stage("lite", options())
    assert compress(ChatRequest("m", again), [stage]).request.messages == again[1:]
    rules = Message(Role.SYSTEM, [Text("Be kind. " * 40 + "Always.")])
    twice = ChatRequest("m", [rules, again[0], rules])
    assert compress(twice, [stage]).request is twice
    loose = Stage("lite", options(preserve_system_prompt=False))
    assert compress(twice, [loose]).request.messages == [rules, again[0]]


def test_why_nothing_was_saved() -> None:
    cached = Text("Please look at the file and tell me what you think of it.", cache={"type": "ephemeral"})
    stages = [Stage("caveman", options())]
    assert compress(ChatRequest("m", [Message(Role.USER, [cached])]), stages).skipped == [
        "everything stands before the client's last cache marker (preserveCachedPrefix)"
    ]
    huge = ChatRequest("m", [Message(Role.USER, [Text("x" * (MOST_TEXT + 1))])])
    assert "too long to look at" in compress(huge, stages).skipped[0]
    assert compress(ChatRequest("m", [Message(Role.USER, [Text("hello")])]), stages).skipped == [
        "no text had anything that the engines in use take out"
    ]
    assert compress(ChatRequest("m", [Message(Role.USER, [])]), stages).skipped == ["there was no text to look at"]


@pytest.mark.parametrize(
    ("arguments", "taken"),
    [('{"command": "git status"}', True), ('{"cmd": ["bash", "-lc", "git status"]}', True), ('{"script": ["git", "status"]}', True),
     ('{"command": 5}', False), ('{"command": ', False), ('["command"]', False), ('{"path": "git status"}', False)],
)  # fmt: skip
def test_the_command_is_read_from_the_call(arguments: str, taken: bool) -> None:
    said = 'a\n\n\nb with some more words so that it pays\n  (use "git add <file>..." to update what will be committed)\n\n\n\n\n'
    messages = [
        Message(Role.USER, [Text("x")]),
        Message(Role.ASSISTANT, [ToolCall("c", "shell", arguments)]),
        Message(Role.TOOL, [ToolResult("c", [Text(said)])]),
    ]
    outcome = compress(ChatRequest("m", messages), [Stage("rtk", options())])
    assert ("git-status:dropPatterns" in outcome.rules) is taken


@pytest.mark.parametrize(
    ("text", "why"),
    [("(", "not a regular expression"), ("(a+)+b", "within a repetition"), ("(ab|cd)*c", "alternatives within"), ("a*b*c", "more than one"),
     (r"(a)\1", "not supported"), ("(?=a)b", "not supported"), ("a{1,900}b{1,900}", "more than one")],
)  # fmt: skip
def test_expressions_that_could_stall_are_refused(text: str, why: str) -> None:
    """SEC-34."""
    with pytest.raises(BadRequest, match=why):
        safe(text, "preservePatterns")


@pytest.mark.parametrize("text", [r"TICKET-\d+", r"^\s*at .*x", "(?i)secret", r"(\d{2})?x", r"a|b+|c*"])
def test_expressions_that_may_be_used(text: str) -> None:
    safe(text)
    began = time.process_time()
    for part in ("a", "1", " ", "at "):
        filters.found((safe(text),), part * 5000)
    assert time.process_time() - began < 1


def test_filters_of_the_owner(tmp_path: Path) -> None:
    row = {"id": "git-status", "label": "Mine", "description": "d", "category": "git", "priority": 99,
           "match": {"commands": ["git status"]}, "rules": {"dropPatterns": ["^On "]}}  # fmt: skip
    (tmp_path / "a.json").write_text(json.dumps([row]))
    (tmp_path / "b.json").write_text(json.dumps([{**row, "id": "x", "rules": {"dropPatterns": ["(a+)+"]}}]))
    (tmp_path / "c.json").write_text("{")
    (tmp_path / "d.json").write_text(json.dumps([{**row, "colour": 1}]))
    found = filters.with_own([tmp_path])
    assert found.all[0].row.label == "Mine"
    assert len(found.all) == len(filters.shipped().all)
    assert [fault["file"] for fault in found.faults] == ["b.json", "c.json", "d.json"]
    assert filters.with_own([tmp_path / "none"]).faults == ()


def test_short_forms_are_bounded_and_end() -> None:
    clock = Still()
    memory = ShortForms(clock, lambda: 5)
    memory.put(("a", "text"), Shortened("t"))
    assert memory.get(("a", "text")) == Shortened("t")
    clock.advance(301)
    assert memory.get(("a", "text")) is None
    for number in range(40):
        memory.put((str(number), "x" * 1_000_000), Shortened("x"))
    assert len(memory) < 17
    memory.put(("huge", "x" * 5_000_000), Shortened("x"))
    assert memory.get(("huge", "x" * 5_000_000)) is None


def test_descriptions_of_tools() -> None:
    text = "Please note that this tool lists all of the models that are really available, in order to let you choose `the one`."
    assert descriptions.shortened(text) == "This tool lists all models that are available, to let you choose `the one`."
    shown = {
        "name": "x",
        "description": text,
        "inputSchema": {"type": "object", "properties": {"the": {"type": "string", "description": text}}},
    }
    made = descriptions.tool(shown)
    assert made["inputSchema"]["properties"]["the"]["description"] == made["description"] == descriptions.shortened(text)
    assert shown["description"] == text
    assert descriptions.figures([text, "short"])["descriptionsCompressed"] == 1


def test_differences_in_words() -> None:
    assert trial.difference("say the word now", "say word now") == [
        {"type": "same", "text": "say "},
        {"type": "removed", "text": "the "},
        {"type": "same", "text": "word now"},
    ]
    assert trial.difference("a\n" * 2000 + "b c", "a\n" * 2000) == []
    many = "word " * 1200
    assert trial.difference(many, f"{many}\nmore") == [{"type": "removed", "text": many}, {"type": "added", "text": f"{many}\nmore"}]
