"""What the demo is made of: drawn glyphs, a vision transformer pretrained on them, real digits to adapt it to."""
