"""What a data set may be."""

SUFFIXES = (".png", ".jpg", ".jpeg")
FORMAT_HINT = "give a folder of class folders with PNG or JPEG files, or an .npz with images and labels"
