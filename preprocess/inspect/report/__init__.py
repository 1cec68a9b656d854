"""A store as one HTML page: gather the figures, draw the plots, render the page."""
