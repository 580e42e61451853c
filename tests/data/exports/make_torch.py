"""Tiny classifiers as both exporters of torch write them (torch 2.13.0, onnxscript 0.7.2)."""

import io
import warnings

import numpy as np
import onnx
import torch
from common import labels, outputs, sample, store
from torch import nn
from torch.nn import functional as F

OPSETS = {"dynamo": 18, "script": 17}


class Normalise(nn.Module):
    def __init__(self, *shape: int):
        super().__init__()
        self.register_buffer("mean", torch.rand(shape) - 0.5)
        self.register_buffer("std", torch.rand(shape) + 0.5)

    def forward(self, x):
        return (x - self.mean) / self.std


class Residual(nn.Module):
    def __init__(self, body: nn.Module):
        super().__init__()
        self.body = body

    def forward(self, x):
        return F.relu(x + self.body(x))


class Cnn(nn.Module):
    """Convolutions as usual: one batch norm that exporters fold, and one that they cannot."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 3, 3, padding=1),
            nn.BatchNorm2d(3),
            nn.ReLU(),
            nn.BatchNorm2d(3),
            nn.MaxPool2d(2),
            nn.Conv2d(3, 4, 3, stride=2, padding=1, bias=False),
            nn.ReLU(),
        )
        self.head = nn.Linear(16, 4)

    def forward(self, x):
        x = self.features(x)
        return self.head(x.view(x.size(0), -1))


class ResNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.normalise = Normalise(1, 2, 1, 1)
        self.stem = nn.Conv2d(2, 3, 3, padding=1)
        self.block = Residual(
            nn.Sequential(
                nn.Conv2d(3, 3, 3, padding=1, bias=False),
                nn.BatchNorm2d(3),
                nn.ReLU(inplace=True),
                nn.Conv2d(3, 3, 1),
            )
        )
        self.norm = nn.BatchNorm2d(3)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(3, 4)

    def forward(self, x):
        x = self.norm(self.block(F.relu(self.stem(self.normalise(x)))))
        return self.head(torch.flatten(self.pool(x), 1))


class MobileNet(nn.Module):
    """Depthwise, grouped and dilated convolutions, padded pools, ReLU6."""

    def __init__(self):
        super().__init__()
        self.expand = nn.Conv2d(2, 4, 1)
        self.depthwise = nn.Conv2d(4, 4, 3, padding=1, groups=4)
        self.dilated = nn.Conv2d(4, 4, (2, 3), dilation=2, padding=(1, 2), groups=2)
        self.head = nn.Linear(4, 4)

    def forward(self, x):
        x = F.pad(x, (1, 0, 0, 1))
        x = F.relu6(self.depthwise(F.relu6(self.expand(x))))
        x = F.avg_pool2d(x, 3, stride=2, padding=1)
        x = F.relu(self.dilated(x))
        x = F.max_pool2d(x, 3, stride=2, padding=1, ceil_mode=True)
        x = F.avg_pool2d(x, 2, stride=1, padding=1, count_include_pad=False)
        return self.head(x.mean((2, 3)))


class Activations(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(8 if k == 0 else 6, 6) for k in range(7))
        self.norm = nn.BatchNorm1d(6)
        self.prelu = nn.PReLU()
        self.prelus = nn.PReLU(6, init=0.4)
        self.head = nn.Linear(6, 4)

    def forward(self, x):
        a, b, c, d, e, f, g = self.layers
        x = F.leaky_relu(a(x), 0.1)
        x = self.norm(self.prelu(b(x)))
        x = self.prelus(c(x))
        x = F.hardtanh(d(x), -1.5, 1.0)
        x = e(x).clamp(min=-0.5)
        x = F.relu6(f(x)) - F.relu(-x)
        return self.head(g(x).abs().clamp(max=2.0))


class Branches(nn.Module):
    def __init__(self, step: int = 2):
        super().__init__()
        self.step = step
        self.normalise = Normalise(8)
        self.left = nn.Linear(4, 6)
        self.right = nn.Linear(4, 6, bias=False)
        self.rows = nn.Linear(3, 3)
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Linear(24, 4)

    def forward(self, x):
        x = self.normalise(x)
        low, high = x.chunk(2, dim=1)
        left, right = F.relu(self.left(low)), self.right(high)
        most, least = torch.max(left, right), torch.minimum(left, 1 - right)
        one, five = torch.split(x[:, 2:], [1, 5], dim=1)
        rows = self.rows(most.reshape(-1, 2, 3)).transpose(1, 2)
        parts = [
            self.dropout(least),
            rows.flatten(1),
            rows.mean(dim=2),
            rows.sum(dim=(1, 2), keepdim=True).squeeze(2),
            torch.stack([x[:, 0], x[:, -1]], dim=1),
            five[:, [0, 3]] * 0.5 + one,
            x[:, 1 : 1 + 3 * self.step : self.step] / 2,
            five[..., -1:],
        ]
        return self.head(F.relu(torch.cat(parts, dim=1)))


class ArgMax(nn.Sequential):
    def forward(self, x):
        return super().forward(x).argmax(dim=1)


def mlp(*end: nn.Module, start: tuple = ()) -> list[nn.Module]:
    return [*start, nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 4), *end]


# name: (model, input shape with the batch, is the batch dynamic)
MODELS = {
    "mlp": (lambda: nn.Sequential(*mlp()), (2, 8), True),
    "flatten": (lambda: nn.Sequential(*mlp(start=(nn.Flatten(),))), (1, 1, 2, 4), False),
    "flatten_dynamic": (lambda: nn.Sequential(*mlp(start=(nn.Flatten(),))), (2, 1, 2, 4), True),
    "log_softmax": (lambda: nn.Sequential(*mlp(nn.LogSoftmax(dim=1))), (2, 8), True),
    "softmax": (lambda: nn.Sequential(*mlp(nn.Softmax(dim=-1))), (1, 8), False),
    "argmax": (lambda: ArgMax(*mlp()), (2, 8), True),
    "sigmoid": (
        lambda: nn.Sequential(nn.Linear(8, 6), nn.Sigmoid(), nn.Linear(6, 4)),
        (1, 8),
        False,
    ),
    "no_batch": (lambda: nn.Sequential(*mlp()), (8,), False),
    "cnn": (Cnn, (1, 1, 6, 6), False),
    "cnn_dynamic": (Cnn, (2, 1, 6, 6), True),
    "resnet": (ResNet, (1, 2, 4, 4), False),
    "resnet_dynamic": (ResNet, (2, 2, 4, 4), True),
    "mobilenet": (MobileNet, (1, 2, 6, 6), False),
    "mobilenet_dynamic": (MobileNet, (2, 2, 6, 6), True),
    "activations": (Activations, (2, 8), True),
    "branches": (Branches, (1, 8), False),
    "branches_dynamic": (Branches, (2, 8), True),
}

# How files of some years ago look: attributes that are inputs today, weights listed as inputs.
OLD = {"opset_version": 9, "keep_initializers_as_inputs": True}
UNFOLDED = {"opset_version": 13, "do_constant_folding": False}
VARIANTS = {
    "cnn_opset9": (Cnn, (2, 1, 6, 6), True, OLD),
    "activations_opset9": (Activations, (2, 8), True, OLD),
    "branches_opset9": (lambda: Branches(step=1), (2, 8), True, OLD),
    "mobilenet_opset10": (MobileNet, (2, 2, 6, 6), True, OLD | {"opset_version": 10}),
    "branches_opset11": (Branches, (2, 8), True, {"opset_version": 11}),
    "cnn_unfolded": (Cnn, (2, 1, 6, 6), True, UNFOLDED),
    "mobilenet_unfolded": (MobileNet, (2, 2, 6, 6), True, UNFOLDED),
}


def build(make, shape: tuple) -> tuple[nn.Module, torch.Tensor]:
    """The model with random weights, evaluating, and all its classes about equally likely."""
    torch.manual_seed(7)
    model = make().eval()
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            nn.init.normal_(module.weight, std=1.5 / module.weight[0].numel() ** 0.5)
        elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.5)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.3)
    head = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
    logits = []
    hook = head.register_forward_hook(lambda module, x, y: logits.append(y.reshape(-1, 4)))
    with torch.no_grad():
        for _ in range(200):
            model(torch.randn(shape))
        head.bias -= torch.cat(logits).mean(0)
    hook.remove()
    return model, torch.randn(shape)


def export(name: str, exporter: str, make, shape: tuple, dynamic: bool, **options) -> None:
    model, x = build(make, shape)
    options = {
        "opset_version": OPSETS[exporter],
        "input_names": ["input"],
        "output_names": ["output"],
        **options,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if exporter == "dynamo":
            shapes = ({0: torch.export.Dim("batch")},) if dynamic else None
            options |= {"dynamic_shapes": shapes, "external_data": False, "verbose": False}
            proto = torch.onnx.export(model, (x,), dynamo=True, **options).model_proto
        else:
            axes = {"input": {0: "batch"}, "output": {0: "batch"}} if dynamic else None
            options |= {"dynamic_axes": axes}
            buffer = io.BytesIO()
            torch.onnx.export(model, (x,), buffer, dynamo=False, **options)
            proto = onnx.load_from_string(buffer.getvalue())
    path = store(proto, f"torch_{exporter}_{name}")
    check(path, model, shape, dynamic)


def check(path, model: nn.Module, shape: tuple, dynamic: bool) -> None:
    """onnxruntime and torch agree on the stored file."""
    x = sample(path)
    rows = torch.tensor(x, dtype=torch.float32)
    with torch.no_grad():
        if dynamic:
            expected = model(rows).numpy()
        else:
            expected = np.stack([model(row.reshape(shape)).numpy().ravel() for row in rows])
    got = outputs(path, x)
    assert np.allclose(got[0], expected, atol=1e-4), path.name
    assert len(set(labels(got))) > 1, path.name


def main() -> None:
    for exporter in OPSETS:
        for name, model in MODELS.items():
            export(name, exporter, *model)
    for name, (*model, options) in VARIANTS.items():
        export(name, "script", *model, **options)


if __name__ == "__main__":
    main()
