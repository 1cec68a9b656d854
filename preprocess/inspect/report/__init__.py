"""Report on a store as one HTML page: gather the data, draw the plots, render the page."""
