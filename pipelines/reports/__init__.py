"""What is shown to people about a training and about a data set: pages with their pictures inside."""
