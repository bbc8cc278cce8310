"""What a page of a report loads and runs."""

from html.parser import HTMLParser


class Page(HTMLParser):
    """The tags of a page, and what they load; no attribute runs anything."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.loads = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.loads += [value for name, value in attributes if name in ("src", "href", "xlink:href", "srcset", "action")]
        assert not [name for name, _ in attributes if name.startswith("on")]
