"""Makes golden_vit.json: what torchvision's VisionTransformer computes, from a seed.

Made once with torch 2.11.0 and torchvision 0.26.0:  python golden_vit.py > golden_vit.json
golden_vit_test.cpp compares vitsim's model with it.
"""

import json

import torch
import torchvision

MODEL = dict(image_size=16, patch_size=4, num_layers=2, num_heads=4, hidden_dim=32, mlp_dim=48, num_classes=7)
SEED_OF_MODEL = 11
SEED_OF_FIGURES = 12
IMAGES = 3


def summary(tensor):
    flat = tensor.detach().double().flatten()
    return {"sum": flat.sum().item(), "absolute": flat.abs().sum().item(), "first": flat[:3].tolist()}


torch.manual_seed(SEED_OF_MODEL)
model = torchvision.models.VisionTransformer(**MODEL)
first_values = {name: summary(p) for name, p in model.named_parameters()}

# The head starts at zero, which would make every logit zero: draw all parameters anew, in order.
generator = torch.Generator().manual_seed(SEED_OF_FIGURES)
with torch.no_grad():
    for parameter in model.parameters():
        parameter.normal_(0, 0.2, generator=generator)
images = torch.empty(IMAGES, 3, MODEL["image_size"], MODEL["image_size"]).normal_(0, 1, generator=generator)
labels = torch.arange(IMAGES)
logits = model(images)
loss = torch.nn.functional.cross_entropy(logits, labels, label_smoothing=0.1)
loss.backward()

print(json.dumps({
    "torch": torch.__version__,
    "torchvision": torchvision.__version__,
    "model": MODEL,
    "seed_of_model": SEED_OF_MODEL,
    "seed_of_figures": SEED_OF_FIGURES,
    "images": IMAGES,
    "first_values": first_values,
    "logits": logits.tolist(),
    "loss": loss.item(),
    "gradients": {name: summary(p.grad) for name, p in model.named_parameters()},
}, indent=1))
