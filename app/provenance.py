"""The mark that tells whoever looks into a file that a model made the picture, not a camera or a hand.

Source: IPTC Photo Metadata Standard 2023.1 (Digital Source Type); XMP Specification, parts 1 and 3.
"""

SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
"""IPTC's name for what a trained model made."""

# Read-only, and so without padding: a file's checksums do not let it be changed in place.
XMP = (
    '<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:i="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"'
    f' i:DigitalSourceType="{SOURCE_TYPE}"/>'
    "</rdf:RDF></x:xmpmeta>"
    '<?xpacket end="r"?>'
).encode("ascii")
"""The mark as XMP: the same in every file, for a picture's own facts are beside it."""

_GIF_TRAILER = b"\x3b"
_GIF_EXTENSION = b"\x21\xff\x0bXMP DataXMP"
# Whatever byte of the packet a reader takes for a length, it lands here, and then on the 0 that ends blocks.
_GIF_LANDING = b"\x01" + bytes(range(255, -1, -1)) + b"\x00"

_MP4_BOX = b"uuid" + bytes.fromhex("be7acfcb97a942e89c71999491e3afac")


def mark_gif(content: bytes) -> bytes:
    """Returns a GIF with the mark before its end."""
    assert content.endswith(_GIF_TRAILER)
    return b"".join([content[:-1], _GIF_EXTENSION, XMP, _GIF_LANDING, _GIF_TRAILER])


def mark_mp4(content: bytes) -> bytes:
    """Returns an MP4 with the mark as a box behind the others."""
    return b"".join([content, (4 + len(_MP4_BOX) + len(XMP)).to_bytes(4, "big"), _MP4_BOX, XMP])
