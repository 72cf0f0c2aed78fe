"""The controller: gives each selected node an ENI of each of its networks. One replica leads."""
