"""From a name to a listing: find, download and unpack raw data, check the counts, choose samples."""
