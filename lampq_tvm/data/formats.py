"""What a data set may be: the file types and pixel formats that torchvision's folders take."""

SUFFIXES = (".png", ".jpg", ".jpeg", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")  # torchvision's IMG_EXTENSIONS
# What pillow may take a file for, whatever its suffix: others of its readers start programs (EPS) or have no pixels (PDF).
READERS = ("PNG", "JPEG", "PPM", "BMP", "DIB", "TIFF", "WEBP", "GIF")
PLUGINS = ("Png", "Jpeg", "Ppm", "Bmp", "Tiff", "WebP", "Gif")  # pillow's modules that hold them
GREY_MODES = ("1", "L", "LA")
FORMAT_HINT = "give a folder of class folders or of images (PNG, JPEG, WebP, BMP, TIFF, PPM, PGM), or an .npz with images"
