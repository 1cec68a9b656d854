"""Turn a data set name into a listing: find, download and unpack raw data, check counts, select samples."""
