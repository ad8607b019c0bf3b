"""Synthetic people with two hands, in InterHand2.6M's file layout (`digit synth`).

The package makes data and knows nothing of the network. Read it in this order:

- `profiles`: what a data set looks like (`studio`, `wild`, `webcam`).
- `families`, `anatomy`, `arms`, `contact`: hand shapes, joint limits, elbows, touching
  hands.
- `motion`, `held_motion`: sequences of poses for a dome of cameras and for a single
  camera.
- `body`, `textures`, `appearance`: the mesh of a person, skin, clothes, faces, watches.
- `cameras`, `viewpoints`: a dome of cameras; cameras that people hold up their hands
  to.
- `renderer`, `shading`, `backgrounds`, `film`: from the posed mesh to an RGB picture.
- `statistics`: how hands are held, beside real photographs.
- `annotations`, `scene`, `capture`, `dataset`: labels, one capture, the whole data set.
"""
