"""R-CV: the data converter."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np

from penstock.conformance.adapter import Fault
from penstock.conformance.checking import check
from penstock.conformance.expect import Failure, NotExercised, described, equal, expect, message, raised, same
from penstock.conformance.handles import ConverterHandle
from penstock.conformance.lab import Lab
from penstock.conformance.limits import smaller_files
from penstock.conformance.vectors import AGES_AGO_NS
from penstock.executors.contract import (
    AllocationFailed,
    ChannelNotFound,
    ConversionError,
    DataType,
    Inline,
    RuntimeData,
    SharedMemoryRef,
    TypeMismatch,
)

FORMATS = ("u1", "<i2", "<i4", "<f4", "<f8")


def _is(message: object, kind: type) -> bool:
    """Whether it is this kind of message; one's own classes are known by their names."""
    return isinstance(message, kind) or type(message).__name__ == kind.__name__


async def _kind(lab: Lab, data: RuntimeData, kind: type, what: str) -> None:
    async with lab.converter() as converter:
        sent = await converter.to_ipc(data)
        expect(_is(sent, kind), f"{what} becomes {kind.__name__}", described(sent))
        await converter.from_ipc(sent)


@check("R-CV-01")
async def check_audio_becomes_a_reference(lab: Lab) -> None:
    for datum in (lab.data.audio(1024), lab.data.audio(1), lab.data.audio(1 << 18)):
        await _kind(lab, datum, SharedMemoryRef, f"audio of {datum.nbytes} bytes")


@check("R-CV-02")
async def check_text_becomes_inline(lab: Lab) -> None:
    for size in (0, 5, 63, 4096, 64 << 10):
        await _kind(lab, lab.data.text("x" * size), Inline, f"text of {size} bytes")


@check("R-CV-03")
async def check_a_tensor_becomes_a_reference(lab: Lab) -> None:
    for array in (np.arange(3.0), np.zeros((64, 64), "u1"), lab.data.floats(1 << 18)):
        await _kind(lab, lab.data.tensor(array), SharedMemoryRef, f"a tensor of {array.nbytes} bytes")


@check("R-CV-04")
async def check_json_becomes_inline(lab: Lab) -> None:
    for value in ({}, {"k": "v"}, {"k": "v" * 5000}):
        await _kind(lab, lab.data.json(value), Inline, "JSON")


@check("R-CV-05")
async def check_audio_is_bit_exact(lab: Lab) -> None:
    async with lab.converter() as converter:
        for name, datum in lab.data.odd_audio():
            back = await converter.round_trip(datum)
            expect(bytes(back.payload) == bytes(datum.payload), f"the bits of audio ({name})", _where(datum, back))


def _where(datum: RuntimeData, back: RuntimeData) -> str:
    try:
        same(back, datum, "audio")
    except Failure as failure:
        return failure.actual
    return "other bits"


@check("R-CV-06")
async def check_audio_keeps_its_format(lab: Lab) -> None:
    async with lab.converter() as converter:
        for rate, channels, name in zip((8000, 16000, 44100, 48000, 192000), (1, 2, 3, 6, 8), FORMATS, strict=True):
            datum = lab.data.audio(rate=rate, channels=channels, samples=np.arange(1, 24 * 5 + 1).astype(name))
            audio = (await converter.round_trip(datum)).as_audio()
            what = f"of {name} at {rate} Hz with {channels} channels"
            equal(audio.sample_rate, rate, f"sample_rate {what}")
            equal(audio.channels, channels, f"channels {what}")
            equal(audio.num_samples, 120, f"num_samples (over all channels) {what}")
            equal(audio.format, datum.as_audio().format, f"format {what}")


@check("R-CV-07")
async def check_tensors_keep_everything(lab: Lab) -> None:
    async with lab.converter() as converter:
        for name, datum in lab.data.tensors():
            same(await converter.round_trip(datum), datum, f"a tensor ({name})")


@check("R-CV-08")
async def check_text_of_every_length(lab: Lab) -> None:
    async with lab.converter() as converter:
        for name, datum in lab.data.texts():
            same(await converter.round_trip(datum), datum, f"text ({name})")


@check("R-CV-09")
async def check_json_is_byte_equal(lab: Lab) -> None:
    async with lab.converter() as converter:
        for name, datum in lab.data.jsons():
            same(await converter.round_trip(datum), datum, f"JSON ({name})")


@check("R-CV-10")
async def check_types_survive(lab: Lab) -> None:
    async with lab.converter() as converter:
        for _ in range(3):
            for datum in lab.some_data():
                back = await converter.round_trip(datum)
                equal(back.data_type, datum.data_type, "data_type after the round trip")


@check("R-CV-11")
async def check_sessions_survive(lab: Lab) -> None:
    for session in (lab.session, f"{lab.session}-b"):
        async with lab.converter(session) as converter:
            for datum in lab.some_data():
                datum.session_id = session
                back = await converter.round_trip(datum)
                equal(back.session_id, session, f"session_id of {datum.data_type} after the round trip")


@check("R-CV-11")
async def check_a_message_keeps_the_session_of_its_datum(lab: Lab) -> None:
    """Text and JSON need no channel: those of another session may be refused, but do not become the converter's."""
    async with lab.converter() as converter:
        for datum in (lab.data.text(), lab.data.json()):
            datum.session_id = f"elsewhere-{lab.data.nonce()}"
            try:
                back = await converter.round_trip(datum)
            except ConversionError as error:
                lab.around.note(f"{datum.data_type} of another session is refused: {error}")
            else:
                equal(back.session_id, datum.session_id, f"session_id of {datum.data_type} of another session")


@check("R-CV-12")
async def check_timestamps_survive(lab: Lab) -> None:
    async with lab.converter() as converter:
        for datum, timestamp_ns in itertools.product([*lab.some_data()], (AGES_AGO_NS, 0, 1, (1 << 63) - 1)):
            datum.timestamp_ns = timestamp_ns
            back = await converter.round_trip(datum)
            equal(back.timestamp_ns, datum.timestamp_ns, f"timestamp_ns of {datum.data_type} after the round trip")


@check("R-CV-16")
async def check_a_mismatch_is_said(lab: Lab) -> None:
    async with lab.converter() as converter:
        for name, datum in lab.data.mislabelled():
            error = await raised(
                TypeMismatch, converter.to_ipc(datum), f"to_ipc with {name}", text="Type mismatch: expected ..."
            )
            for field in ("expected", "actual"):
                expect(getattr(error, field, None) is not None, f"the field {field!r} of TypeMismatch", "it is not set")
            wanted = datum.data_type.value
            expect(wanted in str(error.expected), f"expected = {wanted}", f"expected = {error.expected!r}")
            expect(", got " in message(error), "'Type mismatch: expected X, got Y'", repr(message(error)))


@check("R-CV-17")
async def check_an_unknown_session_is_named(lab: Lab) -> None:
    async with lab.converter() as converter:
        for make in (lab.data.audio, lab.data.tensor):
            datum = make()
            datum.session_id = f"nowhere-{lab.data.nonce()}"
            call = converter.to_ipc(datum)
            error = await raised(
                ChannelNotFound, call, "to_ipc of another session's datum", text="Channel not found: ..."
            )
            expect(datum.session_id in message(error), f"the name {datum.session_id!r} in the text", message(error))


@check("R-CV-18")
async def check_no_memory_is_said(lab: Lab) -> None:
    async with lab.converter() as converter:
        await converter.round_trip(lab.data.audio())
        before = await lab.ledger()
        tried = await _without_memory(converter, lab.data.tensor(lab.data.floats(1 << 20)))
        if lab.claims.max_payload is not None:
            size = lab.claims.max_payload + 1
            await _too_large(converter, lab.data.tensor(np.zeros(size, "u1")), f"a tensor of {size} bytes")
            tried = True
        await lab.nothing_left(before, "memory", "descriptor")
        datum = lab.data.audio()
        same(await converter.round_trip(datum), datum, "the next round trip")
    if not tried:
        raise NotExercised(
            "4 MiB could be had although files were limited to 1 MiB: allocation can not be made to fail"
        )


async def _without_memory(converter: ConverterHandle, datum: RuntimeData) -> bool:
    try:
        with smaller_files(1 << 20):
            sent = await converter.to_ipc(datum)
    except AllocationFailed as error:
        text = "Shared memory allocation failed: "
        expect(message(error).startswith(text), f"AllocationFailed({text!r}...)", repr(message(error)))
        return True
    except ConversionError as error:
        raise Failure("without memory to_ipc raises AllocationFailed", f"it raised {described(error)}") from error
    same(await converter.from_ipc(sent), datum, "a datum that found room although memory was limited")
    return False


async def _too_large(converter: ConverterHandle, datum: RuntimeData, what: str) -> None:
    text = "Shared memory allocation failed: ..."
    await raised(AllocationFailed, converter.to_ipc(datum), f"to_ipc of {what}, which is over max_payload", text=text)


@check("R-CV-21")
async def check_unusual_sizes(lab: Lab) -> None:
    async with lab.converter() as converter:
        unusual = {
            "audio of 0 samples": lab.data.audio(samples=np.zeros(0, "<f4")),
            "stereo": lab.data.audio(channels=2, samples=lab.data.floats(1000)),
            "I16, 3 samples": lab.data.audio(samples=np.array([1, -2, 3], "<i2")),
            "U8, 7 samples": lab.data.audio(samples=np.arange(7, dtype="u1")),
            "a tensor of 3 bytes": lab.data.tensor(np.array([1, 2, 3], "u1")),
            "a tensor of 9 MiB and 1 byte": lab.data.tensor(np.arange((9 << 20) + 1, dtype=np.uint32).astype("u1")),
        }
        for name, datum in unusual.items():
            try:
                back = await converter.round_trip(datum)
            except ConversionError as error:
                lab.around.note(f"{name}: {error}")
            else:
                same(back, datum, name)


@check("R-CV-24")
async def check_malformed_inline_messages(lab: Lab) -> None:
    async with lab.converter() as converter:
        sample = await converter.to_ipc(lab.data.text("sample"))
        if not dataclasses.is_dataclass(sample) or isinstance(sample, type) or not hasattr(sample, "data_type"):
            raise NotExercised(f"a malformed {type(sample).__name__} can not be made")
        for data_type in (None, "Nope", 99):
            broken = dataclasses.replace(sample, data_type=data_type)
            await raised(ConversionError, converter.from_ipc(broken), f"from_ipc of Inline with type {data_type!r}")
        for number in range(200):
            blob = lab.data.raw(lab.random.choice([0, 1, 3, 63, 64, 65, 200]))
            kind = lab.random.choice([DataType.TEXT, DataType.JSON, DataType.AUDIO, DataType.TENSOR])
            broken = dataclasses.replace(sample, data_type=kind, payload=blob)
            try:
                await converter.from_ipc(broken)
            except ConversionError:
                lab.around.note(f"blob {number} refused")
        datum = lab.data.text()
        same(await converter.round_trip(datum), datum, "the next round trip")


@check("R-CV-18")
async def check_an_injected_conversion_error(lab: Lab) -> None:
    async with lab.converter() as converter:
        if lab.has_fault(converter, Fault.CONVERT):
            with lab.fault(converter, Fault.CONVERT):
                await raised(ConversionError, converter.to_ipc(lab.data.audio()), "to_ipc while conversion fails")
        datum = lab.data.audio()
        same(await converter.round_trip(datum), datum, "the round trip after that")
