"""Rows of the chapter `flows`: five bells on the line, a mixture density learnt by Adam."""

import numpy as np
import torch

from benchmarks.run import row
from solutions import flows

X = flows.draw(np.random.default_rng(0), flows.BELLS, 5_000)
BATCH, RATE = 128, 5e-3


# Both start and shuffle in their own way: what they must agree on is the loss after training, to a hundredth.
@row("25 epochs of Adam on 5,000 points, batches of 128, five components", library="zuko", rtol=1e-2)
def flow_training_zuko():
    """Against `zuko.flows.GMM` without context, with the usual loop."""
    import zuko

    x = torch.tensor(X, dtype=torch.float32)[:, None]

    def theirs():
        generator = torch.Generator().manual_seed(0)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            flow = zuko.flows.GMM(features=1, context=0, components=5)
        optimizer = torch.optim.Adam(flow.parameters(), lr=4 * RATE)
        for _ in range(25):
            for batch in x[torch.randperm(len(x), generator=generator)].split(BATCH):
                optimizer.zero_grad()
                loss = -flow().log_prob(batch).mean()
                loss.backward()
                optimizer.step()
        with torch.no_grad():
            return -flow().log_prob(x).mean().item()

    def ours():
        generator = torch.Generator().manual_seed(0)
        flow, _ = flows.fit(X, components=5, epochs=25, rate=4 * RATE, batch_size=BATCH, generator=generator)
        return -flow.log_density(X).mean().item()

    return ours, theirs


@row("log density of 5,000 points under five bells", library="zuko", rtol=1e-9)
def flow_log_density_zuko():
    """Against `zuko.flows.GMM` with the same parameters, in double precision."""
    import zuko

    x = torch.tensor(X)
    flow = flows.MixtureCDF(5, generator=torch.Generator().manual_seed(0)).double().requires_grad_(False)
    other = zuko.flows.GMM(features=1, context=0, components=5).double().requires_grad_(False)
    logits, means, scales = (part for part in other.parameters() if part.numel())
    logits.copy_(flow.logits.reshape(logits.shape))
    means.copy_(flow.means.reshape(means.shape))
    scales.copy_(torch.log(flow.log_stds.exp() - other.epsilon).reshape(scales.shape))
    return lambda: flow.log_density(x).numpy(), lambda: other().log_prob(x[:, None]).numpy()
