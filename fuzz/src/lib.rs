//! Fuzz targets over every decoder.
