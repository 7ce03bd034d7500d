"""Foreign files read right, or refused with the reason.

options      what a person can say about a file: which array, which axis, which colour filters, how much memory
budget       how much memory a frame may take, judged by what the file declares, before anything is unpacked
sources      arrays of a file: which one is the hologram, along which axis its frames lie
numpy_files  NPY and NPZ
mat_files    MAT v4 and v5
hdf5_files   HDF5 and MAT v7.3
pictures     PNG, JPEG, BMP
tiff_pages   what a TIFF says of its pages; tiff_pixels: their pixels
decoder      the image library, with what it would write to the terminal caught
mosaic       the pattern of colour filters: seen and levelled
"""
