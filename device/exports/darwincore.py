"""Darwin Core Archive: intervals as events, one occurrence a taxon and interval, absences too.

An interval that was analysed says of every class that it could name whether it was there: `absent` is a statement. What is
no organism (dust, beads, 'unknown') has no place in it and is counted as left out. Terms: https://dwc.tdwg.org/terms/,
layout: https://dwc.tdwg.org/text/.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from device import __version__
from device.errors import InputError
from device.exports.bundle import ExportBundle
from device.exports.source import Place, RecordSource
from device.exports.taxa import Taxon, taxon
from device.records import Interval
from device.sampling.kinds import sampling_kinds
from device.text import markup, plain

__all__ = ["EVENT_TERMS", "OCCURRENCE_TERMS", "write"]

_TERMS = "http://rs.tdwg.org/dwc/terms/"

EVENT_TERMS = (
    "eventID", "eventDate", "eventType", "samplingProtocol", "sampleSizeValue", "sampleSizeUnit", "samplingEffort", "locationID",
    "locality", "decimalLatitude", "decimalLongitude", "geodeticDatum", "minimumElevationInMeters", "maximumElevationInMeters",
    "eventRemarks",
)  # fmt: skip
OCCURRENCE_TERMS = (
    "eventID", "occurrenceID", "basisOfRecord", "occurrenceStatus", "scientificName", "taxonRank", "kingdom", "vernacularName",
    "individualCount", "organismQuantity", "organismQuantityType", "identifiedBy", "identificationVerificationStatus",
    "identificationRemarks", "occurrenceRemarks",
)  # fmt: skip

_QUANTITY = {"m^-3": "individuals per cubic metre", "L^-1": "individuals per litre", "mL^-1": "individuals per millilitre"}
_UNVERIFIED = "unverified"


def _protocol(mode: str) -> str:
    kind = sampling_kinds().get(mode)
    return kind.protocol if kind else "recorded holograms, counted by machine"


def write(source: RecordSource, bundle: ExportBundle) -> None:
    """dwca-DEVICE.zip: meta.xml, eml.xml, event.txt, occurrence.txt."""
    survey, name = source.survey, f"dwca-{source.device_id}.zip"
    if not survey.intervals:
        raise InputError("no interval in the period", expected="intervals, which are the events of Darwin Core")
    occurrences = 0
    with zipfile.ZipFile(bundle.begin(name), "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("meta.xml", _meta())
        archive.writestr("eml.xml", _eml(source))
        _table(archive, "event.txt", EVENT_TERMS, (_event(source.place, source.device_id, i) for i in source.intervals()))
        occurrences = _table(archive, "occurrence.txt", OCCURRENCE_TERMS, _occurrences(source, bundle))
    bundle.end(name, survey.intervals + occurrences, _count)
    if survey.events:
        bundle.left_out["events of the box (--format csv has them)"] += survey.events


def _table(archive: zipfile.ZipFile, name: str, terms: tuple[str, ...], rows: Iterable[dict[str, object]]) -> int:
    count = 0
    with archive.open(name, "w", force_zip64=True) as file:
        file.write(("\t".join(terms) + "\n").encode())
        for row in rows:
            file.write(("\t".join(_text(row.get(term)) for term in terms) + "\n").encode())
            count += 1
    return count


def _text(value: object) -> str:
    return "" if value is None else re.sub(r"\s+", " ", plain(value)).strip()


def _event(place: Place, device_id: str, interval: Interval) -> dict[str, object]:
    in_air = interval.volume_m3 is not None
    volume = interval.volume_m3 if in_air else interval.volume_ml
    unit = "cubic metre" if in_air else "millilitre"
    frames = interval.frames
    return {
        "eventID": interval.id,
        "eventDate": f"{interval.started_at}/{interval.ended_at}",
        "eventType": "Sample",
        "samplingProtocol": _protocol(interval.mode),
        "sampleSizeValue": volume,
        "sampleSizeUnit": unit if volume is not None else None,
        "samplingEffort": f"{frames.analysed} of {frames.captured} frames searched; {interval.dead_time_s} s of dead time",
        "locationID": device_id,
        "locality": place.name,
        "decimalLatitude": place.latitude_degrees if place.known else None,
        "decimalLongitude": place.longitude_degrees if place.known else None,
        "geodeticDatum": "EPSG:4326" if place.known else None,
        "minimumElevationInMeters": place.altitude_m,
        "maximumElevationInMeters": place.altitude_m,
        "eventRemarks": f"volume uncertainty {interval.volume_uncertainty}; QARTOD {interval.qc}{_doubts(interval)}; calibration "
        f"{interval.calibration_id or 'none'}; configuration {interval.config_hash}; pipeline {interval.pipeline_id}"
        + (f"; SIMULATED: {', '.join(interval.simulated)}" if interval.simulated else ""),
    }


def _doubts(interval: Interval) -> str:
    """What speaks against the counts, in brackets; empty where nothing does."""
    return f" ({'; '.join(interval.reasons)})" if interval.reasons else ""


def _occurrences(source: RecordSource, bundle: ExportBundle) -> Iterator[dict[str, object]]:
    for interval in source.intervals():
        for label, count in interval.counts.items():
            if label == "total":
                continue
            known = taxon(label, source.taxa)
            if known is None:
                if count.n:
                    bundle.left_out[f"particles named '{label}', no known organism ([export.taxa] can name one)"] += count.n
            elif label in interval.concentration or count.n:
                yield _occurrence(source, interval, label, known)
            else:
                # Nothing was looked at: that nothing was seen says nothing.
                bundle.left_out["absences in intervals that could not be analysed"] += 1


def _occurrence(source: RecordSource, interval: Interval, label: str, known: Taxon) -> dict[str, object]:
    count, per = interval.counts[label], interval.concentration.get(label)
    named = "counted, not named by a classifier" if label == "particle" else "named by a classifier"
    return {
        "eventID": interval.id,
        "occurrenceID": f"{interval.id}:{label}",
        "basisOfRecord": "MachineObservation",
        "occurrenceStatus": "present" if count.n else "absent",
        "scientificName": known.name,
        "taxonRank": known.rank,
        "kingdom": known.kingdom,
        "vernacularName": label,
        "individualCount": count.n,
        "organismQuantity": per.value if per else None,
        "organismQuantityType": _QUANTITY[per.unit] if per else None,
        "identifiedBy": source.survey.models.get(interval.pipeline_id),
        "identificationVerificationStatus": _UNVERIFIED,
        "identificationRemarks": f"{named}; pipeline {interval.pipeline_id}",
        "occurrenceRemarks": f"95 % interval {per.low:.6g} to {per.high:.6g} {_QUANTITY[per.unit]}" if per else None,
    }


def _meta() -> str:
    def part(element: str, row_type: str, file: str, terms: tuple[str, ...], key: str) -> str:
        fields = "".join(
            f'    <field index="{k}" term="{_TERMS}{term}"/>\n' for k, term in enumerate(terms) if k or element == "core"
        )
        return (
            f'  <{element} encoding="UTF-8" fieldsTerminatedBy="\\t" linesTerminatedBy="\\n" fieldsEnclosedBy="" ignoreHeaderLines="1" '
            f'rowType="{_TERMS}{row_type}">\n    <files><location>{file}</location></files>\n    <{key} index="0"/>\n'
            f"{fields}  </{element}>\n"
        )

    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<archive xmlns="http://rs.tdwg.org/dwc/text/" metadata="eml.xml">\n'
        + part("core", "Event", "event.txt", EVENT_TERMS, "id")
        + part("extension", "Occurrence", "occurrence.txt", OCCURRENCE_TERMS, "coreid")
        + "</archive>\n"
    )


def _eml(source: RecordSource) -> str:
    """Metadata in EML 2.2.0, as far as a box knows them."""
    survey, place = source.survey, source.place
    who = markup(place.operator or source.device_id)
    title = markup(f"Particles counted by {source.device_id}" + (f", {place.name}" if place.name else ""))
    party = f"<organizationName>{who}</organizationName>"
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<eml:eml xmlns:eml="https://eml.ecoinformatics.org/eml-2.2.0" packageId="{markup(source.device_id)}/{markup(source.spool_id)}" system="holonode" xml:lang="en">
  <dataset>
    <title>{title}</title>
    <creator>{party}</creator>
    <metadataProvider>{party}</metadataProvider>
    <pubDate>{datetime.now(UTC).date().isoformat()}</pubDate>
    <language>en</language>
    <abstract><para>{survey.intervals} samples, looked at by digital in-line holography and counted by machine
(holonode {__version__}, {markup(source.instrument.name)}). Names were given by a classifier and are not verified.</para></abstract>
    <coverage>
{_where(place)}      <temporalCoverage><rangeOfDates>
        <beginDate><calendarDate>{survey.first[:10]}</calendarDate></beginDate>
        <endDate><calendarDate>{survey.last[:10]}</calendarDate></endDate>
      </rangeOfDates></temporalCoverage>
    </coverage>
    <contact>{party}</contact>
  </dataset>
</eml:eml>
"""


def _where(place: Place) -> str:
    if not place.known:
        return ""
    east, north = place.longitude_degrees, place.latitude_degrees
    return (
        f"      <geographicCoverage><geographicDescription>{markup(place.name or 'the box')}</geographicDescription>"
        f"<boundingCoordinates><westBoundingCoordinate>{east}</westBoundingCoordinate>"
        f"<eastBoundingCoordinate>{east}</eastBoundingCoordinate><northBoundingCoordinate>{north}</northBoundingCoordinate>"
        f"<southBoundingCoordinate>{north}</southBoundingCoordinate></boundingCoordinates></geographicCoverage>\n"
    )


def _count(path: Path) -> int:
    """Rows of both tables, every file's checksum right."""
    with zipfile.ZipFile(path) as archive:
        if archive.testzip() is not None:
            return -1
        rows = 0
        for name in ("event.txt", "occurrence.txt"):
            with archive.open(name) as file:
                rows += sum(1 for _ in file) - 1
        return rows
