"""Building and publishing the images and the chart: `python -m images`."""
