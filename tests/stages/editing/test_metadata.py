"""What results say about themselves, read back by Pillow and by an XML parser."""

import io
from dataclasses import replace
from xml.etree.ElementTree import Element

import pytest
from defusedxml.ElementTree import fromstring
from PIL import Image

from stages.editing.job import EditJob
from stages.editing.metadata import describe
from stages.editing.pictures import write_picture
from stages.editing.request import MaskMode
from tests.support.editing_inputs import SAMPLING, half, photo, request

# As the IPTC Photo Metadata Standard 2025.1 and its NewsCodes give them.
IPTC = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}"
EDITED = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
OURS = "{urn:iedit:settings#}"
PROMPT = 'a "red" dog & a <cat> in the café 🐕'
JOB = EditJob(
    request=request(prompt=PROMPT, negative_prompt="a cow", term="dog", mask=half()),
    mask_mode=MaskMode.GIVEN,
    sampling=SAMPLING,
    images=3,
    seed=5,
)


def description(packet: bytes) -> Element:
    """The one description in an XMP packet: xmpmeta, RDF, Description."""
    root = fromstring(packet)
    assert root.tag == "{adobe:ns:meta/}xmpmeta"
    (rdf,) = root
    (found,) = rdf
    assert rdf.tag.endswith("22-rdf-syntax-ns#}RDF")
    return found


def texts(found: Element) -> dict[str, str]:
    return {each.tag: each.text for each in found}


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_a_result_is_marked_and_keeps_its_settings(kind):
    buffer = io.BytesIO()
    write_picture(photo(), buffer, kind, describe(JOB, 2, "models:/iedit/3"))
    with Image.open(buffer) as image:
        image.load()
        packet = image.info["xmp"]
        said = image.getxmp()["xmpmeta"]["RDF"]["Description"]
    assert said["DigitalSourceType"] == EDITED
    found = texts(description(packet))
    marks = {"DigitalSourceType": EDITED, "AISystemUsed": "iEdit", "AISystemVersionUsed": "models:/iedit/3"}
    assert {name: found[IPTC + name] for name in marks} == marks
    assert found[IPTC + "AIPromptInformation"] == PROMPT
    settings = {"prompt": PROMPT, "negative_prompt": "a cow", "term": "dog", "mask_mode": "given", "seed": "5", "number": "2"}
    settings |= {"strength": "0.8", "steps": "4", "guidance_scale": "3.0", "solver": "ddim", "context": "0.5"}
    assert {name: found[OURS + name] for name in settings} == settings
    assert OURS + "source_term" not in found


def test_png_has_it_where_xmp_is_sought():
    """PNG's third edition: uncompressed iTXt, keyword XML:com.adobe.xmp."""
    buffer = io.BytesIO()
    write_picture(photo(), buffer, "png", describe(JOB, 0, None))
    assert b"iTXtXML:com.adobe.xmp\0\0\0\0\0<?xpacket begin=" in buffer.getvalue()


def test_jpeg_has_it_in_its_first_application_segment_of_xmp():
    buffer = io.BytesIO()
    write_picture(photo(), buffer, "jpeg", describe(JOB, 0, None))
    assert b"http://ns.adobe.com/xap/1.0/\0<?xpacket begin=" in buffer.getvalue()


def test_an_unnamed_model_is_not_named():
    assert IPTC + "AISystemVersionUsed" not in texts(description(describe(JOB, 0, None)))
    plain = replace(JOB, request=request(), mask_mode=MaskMode.NONE)
    assert OURS + "negative_prompt" not in texts(description(describe(plain, 0, None)))
