"""What a result says about itself, in XMP: that it was edited by a model, by which one, and with which settings.

The mark and the properties of AI systems are those of the IPTC Photo Metadata Standard 2025.1; the settings, from which the
same result can be made again, have a namespace of their own.
"""

from xml.etree import ElementTree as ET

from stages.editing.job import EditJob

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
META = "adobe:ns:meta/"
IPTC = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
SETTINGS = "urn:iedit:settings#"
EDITED = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
"""IPTC's code for a picture that was edited with a generative model."""
SYSTEM = "iEdit"
PACKET = '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>{}<?xpacket end="w"?>'  # as XMP, part 1, 7.3.2 has it

for prefix, address in {"rdf": RDF, "x": META, "Iptc4xmpExt": IPTC, "iedit": SETTINGS}.items():
    ET.register_namespace(prefix, address)


def describe(job: EditJob, number: int, model: str | None) -> bytes:
    """Return the XMP packet of a result.

    Args:
        job: what was asked for.
        number: the place of the result in the job, from 0.
        model: the name of the model that edited.
    """
    request = job.request
    root = ET.Element(f"{{{META}}}xmpmeta")
    about = ET.SubElement(ET.SubElement(root, f"{{{RDF}}}RDF"), f"{{{RDF}}}Description")
    about.set(f"{{{RDF}}}about", "")
    marks = {"DigitalSourceType": EDITED, "AISystemUsed": SYSTEM, "AISystemVersionUsed": model}
    words = {"prompt": request.prompt, "negative_prompt": request.negative_prompt, "term": request.term}
    words |= {"source_term": request.source_term, "mask_mode": job.mask_mode.value}
    settings = {**words, "context": request.context, "seed": job.seed, "number": number, **job.sampling.model_dump()}
    for name, value in (marks | {"AIPromptInformation": request.prompt}).items():
        _add(about, f"{{{IPTC}}}{name}", value)
    for name, value in settings.items():
        _add(about, f"{{{SETTINGS}}}{name}", value)
    return PACKET.format(ET.tostring(root, encoding="unicode")).encode()


def _add(to: ET.Element, name: str, value: object) -> None:
    if value not in (None, ""):
        ET.SubElement(to, name).text = str(value)
