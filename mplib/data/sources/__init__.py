"""Where images come from: other packages' wheels, torchvision, official archives, folders of the user's."""
