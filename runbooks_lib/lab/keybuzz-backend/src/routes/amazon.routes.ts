// Stand-in. The routes of keybuzz-backend that the report names, so that a look-up in its source
// finds them; the real service's handlers, guards and database access are not here.
import { Router, type Request, type Response } from 'express';

export const amazonRouter = Router();

const notHere = (_req: Request, res: Response): void => {
  res.status(501).json({ error: 'stand-in: no handler' });
};

amazonRouter.get('/api/v1/inbound-email/connections', notHere);
amazonRouter.get('/api/v1/marketplaces/amazon/status', notHere);
amazonRouter.post('/api/v1/marketplaces/amazon/oauth/start', notHere);
amazonRouter.get('/api/v1/marketplaces/amazon/oauth/callback', notHere);
