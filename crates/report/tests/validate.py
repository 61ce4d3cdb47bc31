"""Checks a report with the independent reader of its format: validate FORMAT FILE SARIF_SCHEMA."""

import csv
import html.parser
import io
import json
import sys

COLUMNS = 15


def sarif(text, schema):
    import jsonschema

    schema = json.load(open(schema))
    jsonschema.Draft7Validator(schema).validate(json.loads(text))


def cyclonedx(text, _):
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    if error:
        raise ValueError(error)
    from packageurl import PackageURL

    bom = json.loads(text)
    refs = [one["bom-ref"] for one in bom["components"]]
    assert len(refs) == len(set(refs)), "a bom-ref stands twice"
    for one in bom["components"]:
        if "purl" in one:
            url = PackageURL.from_string(one["purl"])
            # A name with slashes, which no ecosystem has, does not survive the other reader's own writer.
            assert "%2F" in one["purl"] or PackageURL.from_string(url.to_string()) == url, one["purl"]
            # What is escaped for readers has a backslash; the URL has the name itself.
            assert "\\" in one["version"] or url.version == one["version"], one["purl"]
    for one in bom["vulnerabilities"]:
        assert all(at["ref"] in refs for at in one["affects"]), "a package is not listed"


def oscal(text, _):
    import pathlib
    import tempfile

    from trestle.oscal.assessment_results import AssessmentResults

    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "report.json"
        path.write_text(text, encoding="utf8")
        assert AssessmentResults.oscal_read(path) is not None


def ocsf(text, _):
    from py_ocsf_models.events.findings.compliance_finding import ComplianceFinding
    from py_ocsf_models.events.findings.detection_finding import DetectionFinding

    models = {2003: ComplianceFinding, 2004: DetectionFinding}
    # What the schema requires of the classes that the package has no model of.
    required = {2002: ["finding_info", "vulnerabilities"], 5020: ["device", "package"]}
    base = ["activity_id", "category_uid", "class_uid", "metadata", "severity_id", "time", "type_uid"]
    for line in text.splitlines():
        event = json.loads(line)
        kind = event["class_uid"]
        assert event["type_uid"] == kind * 100 + event["activity_id"], "type_uid"
        assert event["category_uid"] == kind // 1000, "category_uid"
        if kind in models:
            models[kind].model_validate(event)
        else:
            for name in base + required[kind]:
                assert name in event, name


def ndjson(text, _):
    lines = [json.loads(line) for line in text.splitlines()]
    assert lines[0]["type"] == "run" and lines[-1]["type"] == "end", "the frame"
    assert lines[-1]["lines"] == len(lines) - 2, "the count"


def table(text, _):
    rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    assert rows[0][:2] == ["check", "detector"], "the head"
    for row in rows:
        assert len(row) == COLUMNS, row
        assert not any(cell.lstrip()[:1] in ("=", "+", "-", "@") for cell in row if cell), row


def page(text, _):
    class Reader(html.parser.HTMLParser):
        EMPTY = {"meta"}
        KNOWN = {
            "html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "span", "strong", "ol", "li",
            "div", "table", "thead", "tbody", "tr", "th", "td", "footer",
        }
        open = []

        def handle_starttag(self, tag, attributes):
            assert tag in self.KNOWN, f"{tag} in line {self.getpos()}"
            for name, value in attributes:
                assert not name.startswith("on") and name not in ("src", "href"), f"{name} {value}"
            if tag not in self.EMPTY:
                self.open.append(tag)

        def handle_endtag(self, tag):
            assert self.open and self.open.pop() == tag, f"</{tag}> in line {self.getpos()}"

    reader = Reader()
    reader.feed(text)
    reader.close()
    assert not reader.open, reader.open


CHECKS = {
    "sarif": sarif, "cyclonedx": cyclonedx, "oscal": oscal, "ocsf": ocsf, "ndjson": ndjson, "csv": table, "html": page,
}

if __name__ == "__main__":
    name, path, schema = sys.argv[1:4]
    CHECKS[name](open(path, encoding="utf8", newline="").read(), schema)
